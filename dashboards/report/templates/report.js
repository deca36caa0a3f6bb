// Draws the plots from the JSON beside them, in the reader's colours, and lets the legend hide series.
"use strict";
(() => {
  const swaps = JSON.parse(document.getElementById("theme").textContent);
  const escaped = Object.keys(swaps).map((colour) => colour.replace(/[.()]/g, "\\$&"));
  const anyColour = new RegExp(escaped.join("|"), "g");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 600px)");
  const coarse = matchMedia("(pointer: coarse)");
  const hidden = new Set();
  const config = { responsive: true, displayModeBar: false };

  function figure(source) {
    const text = source.textContent;
    const spec = JSON.parse(dark.matches ? text.replace(anyColour, (colour) => swaps[colour]) : text);
    for (const trace of spec.data) {
      if (hidden.has(trace.legendgroup)) trace.visible = false;
    }
    // A finger that scrolls the page must not zoom the plot.
    if (coarse.matches) spec.layout.dragmode = false;
    if (narrow.matches) spec.layout.margin.r = 12;
    return spec;
  }

  function draw() {
    for (const source of document.querySelectorAll("script[data-plot]")) {
      const target = document.getElementById(source.dataset.plot);
      if (target.closest("[hidden]")) continue;
      const { data, layout } = figure(source);
      Plotly.react(target, data, layout, config);
    }
  }

  for (const button of document.querySelectorAll("button[data-series]")) {
    button.addEventListener("click", () => {
      const name = button.dataset.series;
      if (!hidden.delete(name)) hidden.add(name);
      for (const other of document.querySelectorAll("button[data-series]")) {
        other.setAttribute("aria-pressed", String(!hidden.has(other.dataset.series)));
      }
      draw();
    });
  }

  for (const button of document.querySelectorAll("button[data-choice]")) {
    button.addEventListener("click", () => {
      const section = button.closest("section");
      for (const other of section.querySelectorAll("button[data-choice]")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
      for (const plot of section.querySelectorAll("figure[data-choice]")) {
        plot.hidden = plot.dataset.choice !== button.dataset.choice;
      }
      draw();
    });
  }

  dark.addEventListener("change", draw);
  draw();
})();

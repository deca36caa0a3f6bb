"""Somebody at the browser: starts a run from the Custom-run form, watches it, and looks at what it left.

Runs in an environment of its own, which has Playwright and nothing of ours: `python drive.py UI DEPLOYMENT FOLDER`
writes screenshots and `seen.json` into FOLDER.
"""

import json
import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 60_000
A_RUN_MS = 600_000


def open_form(page: Page, ui: str, deployment: str) -> None:
    page.goto(f"{ui}/deployments")
    page.get_by_role("link", name=deployment, exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    expect(page.get_by_text("duration_s (Optional)")).to_be_visible()


def choose(page: Page, label: str, value: str) -> None:
    field = page.locator(".schema-form-property", has=page.get_by_text(f"{label} (Optional)", exact=True)).last
    # By the keyboard: a list that opens under the pointer may close under it as well.
    field.locator(".p-select-button__control").focus()
    page.keyboard.press("ArrowDown")
    page.get_by_role("option", name=value, exact=True).click()
    page.keyboard.press("Escape")


def fill(page: Page, label: str, value: str) -> None:
    field = page.locator(".schema-form-property", has=page.get_by_text(f"{label} (Optional)", exact=True)).last
    field.locator("input").last.fill(value)


def start(page: Page, ui: str, deployment: str, folder: Path) -> dict[str, str]:
    """Fill the form in, wrongly first; what it showed, and the flow run's id."""
    open_form(page, ui, deployment)
    seen = {"form": page.locator("form").inner_text()}
    page.screenshot(path=folder / "form.png", full_page=True)

    fill(page, "rounds", "-3")
    page.get_by_role("button", name="Submit").click()
    refusal = page.get_by_text("is less than the minimum")
    expect(refusal.first).to_be_visible()
    seen["refusal"] = refusal.first.inner_text()
    page.screenshot(path=folder / "refused.png", full_page=True)

    fill(page, "rounds", "2")
    choose(page, "servers", "toy")
    page.screenshot(path=folder / "filled.png", full_page=True)
    # The link to the run is gone again within seconds: on a slow machine before it can be clicked.
    with page.expect_response(lambda answer: answer.url.endswith("/create_flow_run") and answer.ok) as made:
        page.get_by_role("button", name="Submit").click()
    return {**seen, "run": made.value.json()["id"]}


def watch(page: Page, ui: str, run: str, folder: Path) -> dict[str, str]:
    """See the run through; what its artifacts say, by their keys."""
    page.goto(f"{ui}/runs/flow-run/{run}")
    badge = page.locator(".state-badge").first
    expect(badge).to_have_text("Running", timeout=A_RUN_MS)
    page.screenshot(path=folder / "running.png")
    expect(badge).to_have_text("Completed", timeout=A_RUN_MS)
    page.screenshot(path=folder / "completed.png")

    page.locator("[role=tablist]").get_by_text("Artifacts", exact=True).click()
    links = page.locator("a[href*='/artifacts/artifact/']")
    expect(links.first).to_be_visible()
    page.screenshot(path=folder / "artifacts.png")
    addresses = list(dict.fromkeys(link.get_attribute("href") or "" for link in links.all()))
    texts: dict[str, str] = {}
    for number, address in enumerate(addresses):
        page.goto(f"{ui}{address}")
        page.wait_for_load_state("networkidle")
        texts[address] = page.locator("main, #app").first.inner_text()
        page.screenshot(path=folder / f"artifact-{number}.png")
    return texts


def main(ui: str, deployment: str, folder: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1700})
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        seen: dict[str, object] = {**start(page, ui, deployment, folder)}
        seen["artifacts"] = watch(page, ui, str(seen["run"]), folder)
        browser.close()
    (folder / "seen.json").write_text(json.dumps(seen, indent=2))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))

// One dashboard on one page, every panel where the dashboard puts it, from rows that its own queries returned.
import {
  createTheme, type DataFrame, dateTime, FieldMatcherID, fieldMatchers, getDisplayValueAlignmentFactors, getFieldDisplayValues, type GrafanaTheme2,
  ThemeContext,
} from '@grafana/data';
import {
  BarGauge, BigValue, BigValueColorMode, BigValueGraphMode, BigValueJustifyMode, GlobalStyles, PanelChrome, Table, TimeSeries,
  VizRepeater,
} from '@grafana/ui';
import { BarGaugeDisplayMode, VizOrientation } from '@grafana/schema';
import { createRoot } from 'react-dom/client';
import 'uplot/dist/uPlot.min.css';
import { framesOf, type Given } from './frames';
import { Bars, Cloud, Heat, States } from './plots';

interface Shown {
  panel: any;
  frames: Given[];
  title: string;
}
interface Page {
  theme: 'light' | 'dark';
  from: number;
  to: number;
  notes: Array<{ time: number; text: string; colour: string }>;
  rows: Array<{ title: string; y: number }>;
  panels: Shown[];
}

const COLUMN_PX = 66;
const ROW_PX = 38;
const page: Page = JSON.parse(document.getElementById('page')!.textContent!);
const theme = createTheme({ colors: { mode: page.theme } });

function Content({ shown, width, height }: { shown: Shown; width: number; height: number }) {
  const { panel } = shown;
  const [frame] = framesOf(shown.frames, panel, theme);
  if (frame === undefined || frame.length === 0) {
    return <div style={{ padding: 16 }}>{panel.fieldConfig.defaults.noValue ?? 'No data'}</div>;
  }
  const drawn = { frame, panel, theme, width, height, from: page.from, to: page.to };
  switch (panel.type) {
    case 'timeseries': return <Lines {...drawn} noted={panel.title.includes('fingerprint') || panel.title.includes('metric')} />;
    case 'trend': return <Lines {...drawn} noted={false} x={panel.options.xField} />;
    case 'table': return (
      <Table data={visible(frame)} width={width} height={height} columnMinWidth={panel.fieldConfig.defaults.custom.minWidth} />
    );
    case 'stat': return <Numbers {...drawn} />;
    case 'bargauge': return <Ranking {...drawn} />;
    case 'barchart': return <Bars {...drawn} />;
    case 'xychart': return <Cloud {...drawn} />;
    case 'heatmap': return <Heat {...drawn} />;
    case 'state-timeline': return <States {...drawn} />;
    default: throw new Error(`a panel of the type ${panel.type} is not drawn here`);
  }
}

interface Sized {
  frame: DataFrame;
  panel: any;
  theme: GrafanaTheme2;
  width: number;
  height: number;
}

function Lines({ frame, panel, width, height, noted, x }: Sized & { noted: boolean; x?: string }) {
  const range = { from: dateTime(page.from), to: dateTime(page.to), raw: { from: 'now-30d', to: 'now' } };
  const fields = x === undefined ? undefined : {
    x: fieldMatchers.get(FieldMatcherID.byName).get(x), y: fieldMatchers.get(FieldMatcherID.numeric).get({}),
  };
  return (
    <TimeSeries
      frames={[frame]} structureRev={1} width={width} height={height} timeRange={range} timeZone="utc" fields={fields}
      legend={panel.options.legend} options={panel.options}
    >
      {(config) => {
        if (noted) {
          config.addHook('draw', (plot) => page.notes.forEach(({ time, colour }) => {
            const left = plot.valToPos(time, 'x', true);
            plot.ctx.strokeStyle = theme.visualization.getColorByName(colour);
            plot.ctx.setLineDash([4, 4]);
            plot.ctx.beginPath();
            plot.ctx.moveTo(left, plot.bbox.top);
            plot.ctx.lineTo(left, plot.bbox.top + plot.bbox.height);
            plot.ctx.stroke();
            plot.ctx.setLineDash([]);
          }));
        }
        return null;
      }}
    </TimeSeries>
  );
}

function visible(frame: DataFrame): DataFrame {
  return { ...frame, fields: frame.fields.filter((field) => !field.config.custom?.hidden) };
}

function values({ frame, panel }: Sized) {
  return getFieldDisplayValues({
    data: [frame], fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: (text) => text, theme,
    timeZone: 'utc',
  });
}

function Numbers(sized: Sized) {
  return (
    <VizRepeater
      source={sized} width={sized.width} height={sized.height} orientation={VizOrientation.Vertical} renderCounter={0}
      getValues={() => values(sized)}
      renderValue={({ value, width, height }) => (
        <BigValue
          value={value.display} width={width} height={height} theme={theme} colorMode={BigValueColorMode.None}
          graphMode={BigValueGraphMode.None} justifyMode={BigValueJustifyMode.Center}
        />
      )}
    />
  );
}

function Ranking(sized: Sized) {
  const { options } = sized.panel;
  return (
    <VizRepeater
      source={sized} width={sized.width} height={sized.height} orientation={VizOrientation.Horizontal} renderCounter={0}
      getValues={() => values(sized)} itemSpacing={6} minVizHeight={options.minVizHeight} maxVizHeight={options.maxVizHeight}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, width, height, alignmentFactors }) => (
        <BarGauge
          value={value.display} width={width} height={height} field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex!)}
          theme={theme} orientation={VizOrientation.Horizontal} displayMode={BarGaugeDisplayMode.Basic} itemSpacing={6}
          valueDisplayMode={options.valueMode} namePlacement={options.namePlacement} showUnfilled={false}
          alignmentFactors={alignmentFactors} text={options.text}
        />
      )}
    />
  );
}

function Board() {
  const bottom = Math.max(...page.panels.map(({ panel }) => panel.gridPos.y + panel.gridPos.h)) * ROW_PX;
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div style={{ position: 'relative', width: 24 * COLUMN_PX, height: bottom, background: theme.colors.background.canvas }}>
        {page.rows.map(({ title, y }) => (
          <h4 key={title} style={{ position: 'absolute', left: 8, top: y * ROW_PX + 8 }}>{title}</h4>
        ))}
        {page.panels.map((shown) => {
          const { x, y, w, h } = shown.panel.gridPos;
          const [width, height] = [w * COLUMN_PX - 8, h * ROW_PX - 8];
          return (
            <div key={`${shown.panel.id} ${shown.title}`} style={{ position: 'absolute', left: x * COLUMN_PX, top: y * ROW_PX, width, height }}>
              <PanelChrome title={shown.title} description={shown.panel.description} width={width} height={height}>
                {(innerWidth, innerHeight) => <Content shown={shown} width={innerWidth} height={innerHeight} />}
              </PanelChrome>
            </div>
          );
        })}
      </div>
    </ThemeContext.Provider>
  );
}

window.addEventListener('error', (event) => console.log(`nightbench: failed: ${event.message}`));
createRoot(document.getElementById('board')!, {
  onUncaughtError: (error) => console.log(`nightbench: failed: ${error}`),
}).render(<Board />);
// Whoever takes the picture waits for this.
requestAnimationFrame(() => setTimeout(() => console.log('nightbench: drawn'), 500));

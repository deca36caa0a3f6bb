// Panels whose drawing lives in Grafana's core and in none of its packages, on the plot that all of them share there:
// @grafana/ui's UPlotChart and UPlotConfigBuilder, its axes, its legend, its colours.
import { type DataFrame, type Field, getFieldDisplayName, getFieldSeriesColor, type GrafanaTheme2 } from '@grafana/data';
import {
  AxisPlacement, DrawStyle, LegendDisplayMode, ScaleDirection, ScaleOrientation, UPlotChart, UPlotConfigBuilder, VizLayout, VizLegend,
} from '@grafana/ui';
import { VisibilityMode } from '@grafana/schema';
import uPlot from 'uplot';

export interface Drawn {
  frame: DataFrame;
  panel: any;
  theme: GrafanaTheme2;
  width: number;
  height: number;
  from: number;
  to: number;
}

const colourOf = (field: Field, theme: GrafanaTheme2) => getFieldSeriesColor(field, theme).color;
const shown = (field: Field) => (value: unknown) => {
  const { prefix = '', text, suffix = '' } = field.display!(value);
  return `${prefix}${text}${suffix}`;
};

function framed(drawn: Drawn, config: UPlotConfigBuilder, data: unknown[], fields: Field[]) {
  const items = fields.map((field) => ({
    label: getFieldDisplayName(field, drawn.frame), color: colourOf(field, drawn.theme), yAxis: 1,
  }));
  return (
    <VizLayout
      width={drawn.width}
      height={drawn.height}
      legend={
        <VizLayout.Legend placement="bottom">
          <VizLegend items={items} placement="bottom" displayMode={LegendDisplayMode.List} />
        </VizLayout.Legend>
      }
    >
      {(width: number, height: number) => <UPlotChart config={config} data={data as never} width={width} height={height} />}
    </VizLayout>
  );
}

function scales(config: UPlotConfigBuilder, isTime: boolean, x: [number, number], y: { min?: number; max?: number }) {
  const across = { orientation: ScaleOrientation.Horizontal, direction: ScaleDirection.Right };
  config.addScale({ scaleKey: 'x', isTime, ...across, range: () => x });
  config.addScale({ scaleKey: 'y', orientation: ScaleOrientation.Vertical, direction: ScaleDirection.Up, ...y });
}

export function Cloud(drawn: Drawn) {
  const { frame, panel, theme } = drawn;
  const named = (name: string) => frame.fields.find((field) => field.name === name)!;
  const x = named(panel.options.series[0].x.matcher.options);
  const ys: Field[] = panel.options.series.map((each: any) => named(each.y.matcher.options));
  const config = new UPlotConfigBuilder('utc');
  const most = Math.max(...(x.values as number[]));
  scales(config, false, [0, most * 1.05], { min: 0 });
  config.addAxis({ scaleKey: 'x', placement: AxisPlacement.Bottom, theme, formatValue: shown(x), label: x.config.custom?.axisLabel });
  config.addAxis({ scaleKey: 'y', placement: AxisPlacement.Left, theme, formatValue: shown(ys[0]), label: ys[0].config.custom?.axisLabel });
  for (const y of ys) {
    config.addSeries({
      scaleKey: 'y', theme, drawStyle: DrawStyle.Points, showPoints: VisibilityMode.Always,
      pointSize: y.config.custom?.pointSize?.fixed ?? 5, lineColor: colourOf(y, theme), pointColor: colourOf(y, theme),
    });
  }
  return framed(drawn, config, [x.values, ...ys.map((y) => y.values)], ys);
}

export function Bars(drawn: Drawn) {
  const { frame, panel, theme } = drawn;
  const category = frame.fields.find((field) => field.name === panel.options.xField)!;
  const ys = frame.fields.filter((field) => field.type === 'number' && field.values.some((value) => value != null));
  const config = new UPlotConfigBuilder('utc');
  const places = category.values.map((_, place) => place);
  scales(config, false, [-0.5, places.length - 0.5], { min: 0 });
  config.addAxis({
    scaleKey: 'x', placement: AxisPlacement.Bottom, theme, grid: { show: false }, splits: () => places,
    values: () => category.values.map(String),
  });
  config.addAxis({ scaleKey: 'y', placement: AxisPlacement.Left, theme, formatValue: shown(ys[0]) });
  const group = panel.options.groupWidth;
  const each = group / ys.length;
  ys.forEach((y, at) => {
    const begins = places.map(() => (1 - group) / 2 / 1 + at * each - 0.5 + 0.5);
    const bars = uPlot.paths.bars!({
      disp: {
        x0: { unit: 1 as never, values: () => places.map((place, i) => place - 0.5 + begins[i]) as never },
        size: { unit: 1 as never, values: () => places.map(() => each * panel.options.barWidth) as never },
      } as never,
    });
    config.addSeries({
      scaleKey: 'y', theme, pathBuilder: bars, lineColor: colourOf(y, theme), fillColor: colourOf(y, theme), lineWidth: 1,
      fillOpacity: y.config.custom?.fillOpacity, showPoints: VisibilityMode.Never,
    });
  });
  return framed(drawn, config, [places, ...ys.map((y) => y.values)], ys);
}

export function Heat(drawn: Drawn) {
  const { frame, theme } = drawn;
  const [time, ...rows] = frame.fields;
  const most = Math.max(...rows.flatMap((row) => row.values as number[]));
  const config = new UPlotConfigBuilder('utc');
  scales(config, true, [drawn.from, drawn.to], { min: 0, max: rows.length });
  config.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, theme, timeZone: 'utc' });
  config.addAxis({
    scaleKey: 'y', placement: AxisPlacement.Left, theme, size: 64, splits: () => rows.map((_, at) => at + 1).filter((at) => at % 4 === 0),
    values: (_, splits) => splits.map((at) => rows[at - 1].name),
  });
  config.addSeries({ scaleKey: 'y', theme, pathBuilder: () => null, showPoints: VisibilityMode.Never });
  const steps = (time.values as number[]).slice(1).map((at, place) => at - (time.values as number[])[place]);
  const wide = Math.min(...steps);
  config.addHook('draw', (plot) => {
    rows.forEach((row, at) => {
      (row.values as number[]).forEach((count, night) => {
        if (count > 0) {
          const left = plot.valToPos(time.values[night] - wide / 2, 'x', true);
          const right = plot.valToPos(time.values[night] + wide / 2, 'x', true);
          const top = plot.valToPos(at + 1, 'y', true);
          plot.ctx.globalAlpha = Math.pow(count / most, 0.35);
          plot.ctx.fillStyle = theme.visualization.getColorByName('blue');
          plot.ctx.fillRect(left + 1, top + 1, right - left - 1, plot.valToPos(at, 'y', true) - top - 1);
        }
      });
    });
    plot.ctx.globalAlpha = 1;
  });
  return <UPlotChart config={config} data={[time.values, rows[0].values] as never} width={drawn.width} height={drawn.height} />;
}

export function States(drawn: Drawn) {
  const { frame, theme } = drawn;
  const [time, ...rows] = frame.fields;
  const config = new UPlotConfigBuilder('utc');
  scales(config, true, [drawn.from, drawn.to], { min: 0, max: rows.length });
  config.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, theme, timeZone: 'utc' });
  config.addAxis({
    scaleKey: 'y', placement: AxisPlacement.Left, theme, grid: { show: false }, size: 110, splits: () => rows.map((_, at) => at + 0.5),
    values: () => rows.map((row) => row.name),
  });
  config.addSeries({ scaleKey: 'y', theme, pathBuilder: () => null, showPoints: VisibilityMode.Never });
  config.addHook('draw', (plot) => {
    rows.forEach((row, at) => {
      let begun = 0;
      row.values.forEach((value, night) => {
        const ends = night + 1 === row.values.length || row.values[night + 1] !== value;
        if (ends) {
          const left = plot.valToPos(time.values[begun], 'x', true);
          const right = plot.valToPos(night + 1 < row.values.length ? time.values[night + 1] : drawn.to, 'x', true);
          const top = plot.valToPos(at + 0.9, 'y', true);
          const high = plot.valToPos(at + 0.1, 'y', true) - top;
          plot.ctx.fillStyle = row.display!(value).color ?? 'grey';
          plot.ctx.globalAlpha = 0.4;
          plot.ctx.fillRect(left + 1, top, right - left - 2, high);
          plot.ctx.globalAlpha = 1;
          plot.ctx.fillStyle = theme.colors.text.primary;
          plot.ctx.textAlign = 'left';
          plot.ctx.fillText(String(value), left + 6, top + high / 2);
          begun = night + 1;
        }
      });
    });
  });
  return <UPlotChart config={config} data={[time.values, time.values.map(() => 0)] as never} width={drawn.width} height={drawn.height} />;
}

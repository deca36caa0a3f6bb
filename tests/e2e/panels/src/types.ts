// The committed JSON of a dashboard as Grafana's schema has it. JSON holds the values of enums, not their names: `Plain`
// puts these in their place. Generated files in made/ assign each dashboard as a literal, so that TypeScript also refuses
// names that Grafana does not know.
import type {
  AnnotationQuery, Dashboard, DashboardLink, DataQuery, FieldConfig, GridPos, RowPanel, VariableModel,
} from '@grafana/schema';
import type {
  FieldConfig as BarChartField, Options as BarChart,
} from '@grafana/schema/dist/esm/raw/composable/barchart/panelcfg/x/BarChartPanelCfg_types.gen';
import type { Options as BarGauge } from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type {
  FieldConfig as HeatmapField, Options as Heatmap,
} from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type { Options as Stat } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type {
  FieldConfig as TimelineField, Options as Timeline,
} from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type {
  FieldConfig as TableField, Options as Table,
} from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type {
  FieldConfig as TimeSeriesField, Options as TimeSeries,
} from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
import type {
  FieldConfig as TrendField, Options as Trend,
} from '@grafana/schema/dist/esm/raw/composable/trend/panelcfg/x/TrendPanelCfg_types.gen';
import type {
  FieldConfig as XYField, Options as XYChart,
} from '@grafana/schema/dist/esm/raw/composable/xychart/panelcfg/x/XYChartPanelCfg_types.gen';

type Plain<T> = T extends string ? `${T}`
  : T extends number ? (number extends T ? T : `${T}` extends `${infer N extends number}` ? N : T)
  : T extends boolean | null | undefined ? T
  : T extends Array<infer E> ? Array<Plain<E>>
  : T extends object ? { [K in keyof T]: Plain<T[K]> }
  : T;

interface SqlQuery extends DataQuery {
  datasource: { type: 'grafana-postgresql-datasource'; uid: string };
  editorMode: 'code';
  format: 'table' | 'time_series';
  rawQuery: true;
  rawSql: string;
}

interface Panel<Kind extends string, Options, Custom> {
  type: Kind;
  id: number;
  title: string;
  description: string;
  transparent?: boolean;
  gridPos: Plain<GridPos>;
  datasource: { type: string; uid: string };
  targets: SqlQuery[];
  repeat?: string;
  repeatDirection?: 'h' | 'v';
  maxPerRow?: number;
  options?: Plain<Partial<Options>>;
  transformations?: Array<{ id: string; options: object }>;
  fieldConfig: {
    defaults: Omit<Plain<FieldConfig>, 'custom'> & { custom?: Plain<Partial<Custom>> };
    overrides: Array<{
      matcher: { id: string; options?: unknown };
      properties: Array<{ id: Property<Custom>; value?: unknown }>;
    }>;
  };
}

// An override names a field option, or one of the panel's own.
// custom.hidden is what Grafana 11.6 hides a column of a table by; 13 still reads it.
type Property<Custom> = 'custom.hidden' | Exclude<keyof FieldConfig, 'custom'> | `custom.${Exclude<keyof Custom, symbol | number>}`;

export type AnyPanel =
  | Panel<'timeseries', TimeSeries, TimeSeriesField>
  | Panel<'trend', Trend, TrendField>
  | Panel<'barchart', BarChart, BarChartField>
  | Panel<'bargauge', BarGauge, Record<never, never>>
  | Panel<'stat', Stat, Record<never, never>>
  | Panel<'table', Table, TableField>
  | Panel<'heatmap', Heatmap, HeatmapField>
  | Panel<'state-timeline', Timeline, TimelineField>
  | Panel<'xychart', XYChart, XYField>;

type Annotation = Plain<Omit<AnnotationQuery, 'target'>> & { target: SqlQuery };

export type Board = Omit<Plain<Dashboard>, 'panels' | 'annotations' | 'templating' | 'links'> & {
  panels: Array<AnyPanel | Plain<RowPanel>>;
  annotations: { list: Annotation[] };
  templating: { list: Array<Plain<VariableModel>> };
  links: Array<Plain<DashboardLink>>;
};

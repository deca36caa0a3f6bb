// From rows to what a panel draws: the very field configuration of the dashboard, applied by Grafana's own code.
import {
  applyFieldOverrides, type DataFrame, type Field, type FieldConfigPropertyItem, FieldConfigOptionsRegistry, type FieldConfigSource,
  FieldType, getFieldMatcher, type GrafanaTheme2, identityOverrideProcessor, standardFieldConfigEditorRegistry,
} from '@grafana/data';

export interface Given {
  refId: string;
  fields: Array<{ name: string; type: string; values: unknown[]; labels?: Record<string, string> }>;
}

const STANDARD = [
  'displayName', 'unit', 'min', 'max', 'decimals', 'thresholds', 'mappings', 'links', 'color', 'noValue',
];

// Grafana's core has an entry for each option with its editor; overrides need no more of it than its place.
function entry(path: string, isCustom: boolean): FieldConfigPropertyItem {
  const id = isCustom ? `custom.${path}` : path;
  return {
    id, path, isCustom, name: id, settings: {}, editor: () => null, override: () => null,
    process: identityOverrideProcessor, shouldApply: () => true,
  } as unknown as FieldConfigPropertyItem;
}

standardFieldConfigEditorRegistry.setInit(() => STANDARD.map((path) => entry(path, false)) as never);

export function framesOf(given: Given[], panel: any, theme: GrafanaTheme2): DataFrame[] {
  let frames: DataFrame[] = given.map(({ refId, fields }) => ({
    refId,
    length: fields[0]?.values.length ?? 0,
    fields: fields.map((each): Field => ({
      name: each.name, type: each.type as FieldType, values: each.values as never[], labels: each.labels, config: {},
    })),
  }));
  for (const { id, options } of panel.transformations ?? []) {
    if (id !== 'configFromData') {
      throw new Error(`the transformation ${id} is not drawn here`);
    }
    frames = configured(frames, options);
  }
  const own = new Set<string>(Object.keys(panel.fieldConfig.defaults.custom ?? {}));
  for (const { properties } of panel.fieldConfig.overrides) {
    for (const { id } of properties) {
      if (id.startsWith('custom.')) {
        own.add(id.slice('custom.'.length));
      }
    }
  }
  const registry = new FieldConfigOptionsRegistry(() => [
    ...STANDARD.map((path) => entry(path, false)), ...[...own].map((path) => entry(path, true)),
  ]);
  return applyFieldOverrides({
    data: frames,
    fieldConfig: panel.fieldConfig as FieldConfigSource,
    fieldConfigRegistry: registry,
    replaceVariables: (text) => text,
    theme,
    timeZone: 'utc',
  });
}

// As public/app/features/transformers/configFromQuery does with these options: the last value of each mapped field.
function configured(frames: DataFrame[], options: any): DataFrame[] {
  const source = frames.find((frame) => frame.refId === options.configRefId);
  if (source === undefined) {
    throw new Error(`no query ${options.configRefId} to take the configuration from`);
  }
  const config: Record<string, unknown> = {};
  for (const { fieldName, handlerKey } of options.mappings) {
    config[handlerKey] = source.fields.find((field) => field.name === fieldName)?.values.at(-1);
  }
  const matches = getFieldMatcher(options.applyTo);
  return frames.filter((frame) => frame !== source).map((frame) => ({
    ...frame,
    fields: frame.fields.map((field) =>
      matches(field, frame, frames) ? { ...field, config: { ...field.config, ...config } } : field),
  }));
}

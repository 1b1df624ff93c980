/**
 * Real answers held against an OpenAPI document: path, method, status, headers, type and, for
 * JSON, the schema, as far as ours go. What it does not know it does not pass over: it throws.
 */

import assert from 'node:assert/strict';
import type { IncomingHttpHeaders } from 'node:http';

type Json = Readonly<Record<string, unknown>>;

export interface Exchanged {
  readonly method: string;
  readonly target: string;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** Of the connection, or in every answer there is. */
const UNTOLD = ['date', 'connection', 'keep-alive', 'transfer-encoding', 'content-length',
  'content-type'];
const KEYWORDS = ['type', 'properties', 'required', 'additionalProperties', 'items', 'enum',
  'const', 'pattern', 'minimum', 'maximum', 'default', 'description', '$ref'];

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export class OpenApi {
  readonly document: Json;
  /** Method, path and status of each answer that was right. */
  readonly seen = new Set<string>();

  constructor(document: Json) {
    this.document = document;
  }

  /** What a part is, behind its reference. */
  resolve(part: unknown): Json {
    assert.ok(isObject(part), `no part: ${JSON.stringify(part)}`);
    const { $ref } = part;
    if (typeof $ref !== 'string') return part;
    assert.match($ref, /^#\//);
    const names = $ref.slice(2).split('/');
    return this.resolve(names.reduce<unknown>((at, name) => (isObject(at) ? at[name] : at),
      this.document));
  }

  /** Every operation: method, path and the answers that it has. */
  operations(): { name: string; operation: Json; item: Json }[] {
    return Object.entries(this.resolve(this.document['paths'])).flatMap(([path, item]) =>
      Object.entries(this.resolve(item)).filter(([method]) => method !== 'parameters')
        .map(([method, operation]) => ({
          name: `${method.toUpperCase()} ${path}`, operation: this.resolve(operation),
          item: this.resolve(item),
        })));
  }

  /** Throws where the document does not say that the answer may be so. */
  check({ method, target, status, headers, text }: Exchanged): void {
    const what = `${method} ${target}: ${status}`;
    const found = this.operations().find(({ name }) => matches(name, method, target));
    assert.ok(found, `${what}: no such operation`);
    const responses = this.resolve(found.operation['responses']);
    assert.ok(String(status) in responses, `${what}: no such status`);
    const response = this.resolve(responses[String(status)]);
    const told = this.resolve(response['headers'] ?? {});
    for (const [name, value] of Object.entries(headers)) {
      if (UNTOLD.includes(name)) continue;
      assert.ok(name in told, `${what}: no header ${name}`);
      this.#valid(this.resolve(told[name])['schema'], value, `${what}: ${name}`);
    }
    const type = headers['content-type']?.split(';')[0];
    const content = this.resolve(response['content'] ?? {});
    if (type !== undefined) assert.ok(type in content, `${what}: no type ${type}`);
    else assert.equal(text, '', `${what}: a body without a type`);
    if (type === 'application/json' && method !== 'HEAD') {
      this.#valid(this.resolve(content[type])['schema'], JSON.parse(text), what);
    }
    this.seen.add(`${found.name} ${status}`);
  }

  #valid(part: unknown, value: unknown, at: string): void {
    const schema = this.resolve(part);
    for (const keyword of Object.keys(schema)) assert.ok(KEYWORDS.includes(keyword), keyword);
    const { type, properties = {}, required, additionalProperties: others, items } = schema;
    if (type !== undefined) {
      assert.ok([type].flat().includes(typeOf(value)), `${at}: ${typeOf(value)}, not ${type}`);
    }
    if ('const' in schema) assert.deepEqual(value, schema['const'], at);
    if (Array.isArray(schema['enum'])) assert.ok(schema['enum'].includes(value), `${at}: ${value}`);
    if (typeof schema['pattern'] === 'string') {
      assert.match(String(value), new RegExp(schema['pattern'], 'u'), at);
    }
    if (typeof schema['minimum'] === 'number') assert.ok(Number(value) >= schema['minimum'], at);
    if (Array.isArray(value) && items !== undefined) {
      for (const each of value) this.#valid(items, each, `${at}[]`);
    }
    if (!isObject(value)) return;
    for (const name of Array.isArray(required) ? required : []) {
      assert.ok(String(name) in value, `${at}: no ${name}`);
    }
    for (const [name, inner] of Object.entries(value)) {
      const known = this.resolve(properties)[name];
      if (known !== undefined) this.#valid(known, inner, `${at}.${name}`);
      else if (isObject(others)) this.#valid(others, inner, `${at}.${name}`);
      else assert.notEqual(others, false, `${at}: ${name} is not in the schema`);
    }
  }
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return Number.isInteger(value) ? 'integer' : typeof value;
}

function matches(name: string, method: string, target: string): boolean {
  const [verb, path = ''] = name.split(' ');
  const parts = path.split(/\{[^}]+\}/).map((part) => part.replace(/[.]/g, '\\.'));
  // As our only parameter in the middle is a run's id, a module's name may have slashes.
  const hole = path.endsWith('}') && path.includes('/js/') ? '.+' : '[^/]+';
  const [, own = ''] = /^([^?]*)/.exec(target) ?? [];
  return verb === method && new RegExp(`^${parts.join(hole)}$`).test(own);
}

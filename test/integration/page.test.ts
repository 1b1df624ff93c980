/** How the live page is served; what it does is for the browser's tests. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { startCli } from '../support/cli.ts';
import { STARTERS, gatewayFor, startGateway, useGateway } from '../support/gateway.ts';
import type { StartGateway } from '../support/gateway.ts';

/** Modules are there once they are compiled. */
const skip = process.env['TEST_DIST'] === undefined && 'there are no modules';

const PARTS = ['/', '/page/style.css'];

function pageTests(start: StartGateway): void {
  const gateway = useGateway(start, { page: true });

  it('is served under a policy that lets nothing run but its own files', async () => {
    const { status, headers, text } = await gateway().call('GET', '/', { accept: 'text/html' });
    assert.equal(status, 200);
    assert.equal(headers['content-type'], 'text/html; charset=utf-8');
    const rules = new Map(String(headers['content-security-policy']).split('; ')
      .map((rule) => [rule.split(' ')[0], rule.split(' ').slice(1).join(' ')]));
    const shown = 'http: https: data:';
    assert.deepEqual(Object.fromEntries(rules), {
      'default-src': "'none'", 'script-src': "'self'", 'style-src': "'self'",
      'connect-src': "'self'", 'img-src': shown, 'media-src': shown, 'base-uri': "'none'",
      'form-action': "'none'", 'frame-ancestors': "'none'",
    });
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['referrer-policy'], 'no-referrer');
    assert.ok(!/<script(?![^>]*\ssrc=)| on\w+=| style=|https?:/i.test(text), 'nothing of others');
    assert.ok(!text.includes('demo-key'), 'in front of a real API there is no key to show');
    assert.deepEqual(gateway().upstream.requests, [], 'upstream hears nothing of it');
  });

  it('is asked for each time and sent once', async () => {
    for (const path of PARTS) {
      const { headers: { etag = '', ...headers } } = await gateway().call('GET', path);
      assert.equal(headers['cache-control'], 'no-cache');
      const again = await gateway().call('GET', path, { 'if-none-match': etag });
      assert.deepEqual([again.status, again.text, again.headers.etag], [304, '', etag]);
      const head = await gateway().call('HEAD', path);
      assert.deepEqual([head.status, head.text, head.headers.etag], [200, '', etag]);
    }
  });

  it('has its parts and nothing beside them', async () => {
    for (const path of PARTS) assert.equal((await gateway().call('POST', path)).status, 405);
    for (const path of ['/page', '/page/', '/page/js/', '/page/js/cli.js', '/index.html',
      '/page/js/page/../cli.js', '/page/js/%2e%2e/package.json', '/page/js/http/handler.js',
      '/page/js//page/main.js', '/page/js/page/main.ts', '/page/js/page/main.js%00']) {
      assert.equal((await gateway().call('GET', path)).status, 404, path);
    }
  });
}

for (const [name, start] of STARTERS) {
  describe(`the live page of ${name}`, () => pageTests(start));
}

describe('the live page', () => {
  const isBuilt = process.env['TEST_DIST'] !== undefined;
  it('has every module that its own import', { skip: !isBuilt && 'not built' }, async (t) => {
    const cli = startCli(['serve', '--port', '0', '--log-level', 'warn']);
    t.after(() => cli.stop());
    const [, url = ''] = await cli.stdoutLine(/ is at (http:\S+\/) /, 60_000);
    const found = new Set([`${url}page/js/page/main.js`]);
    for (const module of found) {
      const answer = await fetch(module);
      assert.equal(answer.status, 200, module);
      for (const [, name = ''] of (await answer.text()).matchAll(/ from '([^']+)'/g)) {
        found.add(new URL(name, module).href);
      }
    }
    assert.ok(found.size > 10, 'imports are found');
  });

  it('is not there unless it is asked for', async (t) => {
    for (const options of [{}, { page: false }]) {
      const gateway = await gatewayFor(t, startGateway, options);
      for (const path of [...PARTS, '/page/js/page/main.js']) {
        assert.equal((await gateway.call('GET', path)).status, 404, path);
      }
    }
  });

  it('is there with the demo and knows its key, and not with --page off', async (t) => {
    for (const [flags, status] of [[[], 200], [['--page', 'off'], 404]] as const) {
      const cli = startCli(['serve', '--port', '0', '--log-level', 'warn', ...flags]);
      t.after(() => cli.stop());
      const [, url = ''] = await cli.stdoutLine(/ is at (http:\S+\/) /, 60_000);
      const answer = await fetch(url);
      assert.equal(answer.status, status);
      const text = await answer.text();
      assert.equal(text.includes('<meta name="demo-key" content="lma_demo">'), status === 200);
    }
  });

  it('and the doctor\'s load modules that are sent once', { skip }, async (t) => {
    const cli = startCli(['serve', '--port', '0', '--log-level', 'warn']);
    t.after(() => cli.stop());
    const [, url = ''] = await cli.stdoutLine(/ is at (http:\S+)\/ /, 60_000);
    for (const path of ['/page/js/page/main.js', '/doctor/js/doctor/page.js']) {
      const { status, headers } = await fetch(url + path);
      assert.deepEqual([status, headers.get('cache-control')], [200, 'no-cache'], path);
      assert.equal(headers.get('content-type'), 'text/javascript; charset=utf-8');
      const etag = headers.get('etag') ?? assert.fail('it has a tag');
      const again = await fetch(url + path, { headers: { 'if-none-match': etag } });
      assert.equal(again.status, 304, path);
    }
  });
});

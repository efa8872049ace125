// An OpenID Connect provider on loopback, with accounts and keys that a test changes while it runs.
//
// Its only argument is JSON: port, clients and accounts. It prints one line when it listens. A person logs in by name at
// /interaction/{uid}. POST /control replaces the accounts that it is given, `rotate` replaces the keys, and `expire` sets
// the clock forward for the next exchange of a code.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

const settings = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${settings.port}`;
const accounts = new Map(Object.entries(settings.accounts));

function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' };
}

function newProvider() {
  const provider = new Provider(issuer, {
    clients: settings.clients,
    jwks: { keys: [newKey()] },
    cookies: { keys: ['a key of the cookies'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] },
    scopes: ['openid', 'email', 'profile', 'groups'],
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    pkce: { required: () => true },
    ttl: { AuthorizationCode: settings.codeSeconds ?? 60, AccessToken: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
    async findAccount(_, id) {
      const account = accounts.get(id);
      return account && !account.disabled ? { accountId: id, claims: () => ({ sub: id, ...account.claims }) } : undefined;
    },
    // Nobody is asked whether the client may know them.
    async loadExistingGrant(context) {
      const grant = new context.oidc.provider.Grant({ clientId: context.oidc.client.clientId, accountId: context.oidc.session.accountId });
      grant.addOIDCScope('openid email profile groups');
      await grant.save();
      return grant;
    },
  });
  provider.proxy = false;
  return provider;
}

let provider = newProvider();
let skipped = 0;
const now = Date.now.bind(Date);
Date.now = () => now() + skipped;

async function bodyOf(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text;
}

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, issuer);
  if (pathname === '/control') {
    const { rotate, expire, ...changed } = JSON.parse(await bodyOf(request));
    for (const [id, account] of Object.entries(changed.accounts ?? {})) accounts.set(id, account);
    if (rotate) provider = newProvider();
    // The next request finds that all codes are older than they may be.
    if (expire) skipped += 3600_000;
    response.writeHead(204).end();
    return;
  }
  if (!pathname.startsWith('/interaction/')) {
    provider.callback()(request, response);
    if (pathname === '/token') response.on('finish', () => { skipped = 0; });
    return;
  }
  if (request.method === 'GET') {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end('<!doctype html><title>Provider</title><form method="post"><label>Name <input name="login"></label><button>Continue</button></form>');
    return;
  }
  const login = new URLSearchParams(await bodyOf(request)).get('login');
  const account = accounts.get(login);
  const result = account && !account.disabled ? { login: { accountId: login } } : { error: 'access_denied', error_description: 'unknown' };
  await provider.interactionFinished(request, response, result);
});
server.listen(settings.port, '127.0.0.1', () => console.log('listening'));

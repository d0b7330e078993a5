// tests/interop/rfc7515.mjs — a second opinion on a signed token: RFC 7515, 7518, 8259 and 4648 read anew, with Node's crypto for the arithmetic.  It shares no
// line with the product.  It is as strict as these RFCs are, and no stricter: what the product refuses beyond that has to be explained.
import { constants, createPublicKey, verify } from 'node:crypto';

class Refused extends Error {}
const refuse = (why) => {
	throw new Refused(why);
};

// RFC 4648 §3.3, §3.5, §5: the alphabet, no padding, no bits left over: what comes out goes back to the same text.
function base64url(text) {
	const bytes = Buffer.from(text, 'base64url');
	return /^[A-Za-z0-9_-]*$/.test(text) && bytes.toString('base64url') === text ? bytes : refuse('base64url');
}

// RFC 8259, and RFC 7515 §4: member names are unique.  By hand, because JSON.parse takes the last of two.
export function json(bytes) {
	let text, at = 0;
	try {
		text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
	} catch {
		refuse('UTF-8');
	}
	const space = () => {
		while (' \t\n\r'.includes(text[at] ?? 'x')) at++;
	};
	const take = (pattern) => {
		pattern.lastIndex = at;
		const hit = pattern.exec(text);
		if (hit) at += hit[0].length;
		return hit?.[0];
	};
	const string = () => JSON.parse(take(/"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y) ?? refuse('string'));
	const value = (depth) => {
		if (depth > 1000) refuse('depth');
		space();
		let result;
		if (text[at] === '{') {
			result = new Map();
			at++;
			space();
			if (text[at] !== '}') {
				for (;;) {
					space();
					const name = string();
					if (result.has(name)) refuse('duplicate');
					space();
					if (text[at++] !== ':') refuse('colon');
					result.set(name, value(depth + 1));
					if (text[at] !== ',') break;
					at++;
				}
			}
			if (text[at++] !== '}') refuse('object');
		} else if (text[at] === '[') {
			result = [];
			at++;
			space();
			if (text[at] !== ']') {
				for (;;) {
					result.push(value(depth + 1));
					if (text[at] !== ',') break;
					at++;
				}
			}
			if (text[at++] !== ']') refuse('array');
		} else if (text[at] === '"') {
			result = string();
		} else {
			const word = take(/true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y) ?? refuse('value');
			result = JSON.parse(word);
		}
		space();
		return result;
	};
	const result = value(0);
	return at === text.length ? result : refuse('trailing');
}

const object = (v) => (v instanceof Map ? v : refuse('no object'));
const CURVES = { ES256: ['P-256', 32], ES384: ['P-384', 48], ES512: ['P-521', 66] };

// RFC 7517 §4: a key that says what it is for is for nothing else.  RFC 7518 §6: numbers in canonical base64url, minimal or of full width.
function keyFor(jwks, kid, alg) {
	const found = new Map(); // the same entry twice is one key
	for (const k of jwks.get('keys')) if (k instanceof Map && k.get('kid') === kid) found.set(JSON.stringify([...k]), k);
	if (found.size !== 1) refuse('kid');
	const jwk = Object.fromEntries([...found.values()][0]);
	if (jwk.alg !== undefined && jwk.alg !== alg) refuse('alg of the key');
	if (jwk.use !== undefined && jwk.use !== 'sig') refuse('use');
	if (jwk.key_ops !== undefined && !(Array.isArray(jwk.key_ops) && jwk.key_ops.includes('verify'))) refuse('key_ops');
	if (alg.startsWith('ES')) {
		const [crv, width] = CURVES[alg];
		if (jwk.kty !== 'EC' || jwk.crv !== crv || base64url(jwk.x).length !== width || base64url(jwk.y).length !== width) refuse('curve');
	} else {
		if (jwk.kty !== 'RSA') refuse('kty');
		// RFC 7518 §6.3.1.1 warns of writers that prepend a zero.
		const number = (text) => {
			const bytes = base64url(text), from = bytes.findIndex((b) => b !== 0);
			return bytes.subarray(from < 0 ? bytes.length : from);
		};
		const n = number(jwk.n), e = number(jwk.e);
		Object.assign(jwk, { n: n.toString('base64url'), e: e.toString('base64url') });
		const bits = n.length * 8 - Math.clz32(n[0] ?? 0) + 24;
		if (bits < 2048) refuse('RSA size'); // RFC 7518 §3.3
	}
	try {
		return createPublicKey({ key: { kty: jwk.kty, n: jwk.n, e: jwk.e, crv: jwk.crv, x: jwk.x, y: jwk.y }, format: 'jwk' });
	} catch {
		return refuse('key');
	}
}

function check(bytes, jwks) {
	const text = bytes.toString('latin1');
	const parts = text.split('.');
	if (parts.length !== 3) refuse('parts');
	const [header, payload, signature] = parts.map(base64url);
	const head = object(json(header));
	const alg = head.get('alg');
	if (typeof alg !== 'string' || !/^(?:RS|PS|ES)(?:256|384|512)$/.test(alg)) refuse('alg');
	if (head.has('crit')) refuse('crit'); // RFC 7515 §4.1.11: nothing critical is understood here
	const kid = head.get('kid');
	if (typeof kid !== 'string') refuse('kid');
	const key = keyFor(jwks, kid, alg);
	const options = { key };
	if (alg.startsWith('PS')) Object.assign(options, { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: Number(alg.slice(2)) / 8 });
	if (alg.startsWith('RS')) options.padding = constants.RSA_PKCS1_PADDING;
	if (alg.startsWith('ES')) {
		options.dsaEncoding = 'ieee-p1363';
		if (signature.length !== 2 * CURVES[alg][1]) refuse('signature length');
	}
	if (!verify(`sha${alg.slice(2)}`, Buffer.from(`${parts[0]}.${parts[1]}`, 'latin1'), options, signature)) refuse('signature');
	// RFC 7519 §7.2: the message is a set of claims; the product chooses the issuer by `iss`.
	if (typeof object(json(payload)).get('iss') !== 'string') refuse('iss');
}

// null: accepted; else why not.
export function judge(bytes, jwks) {
	try {
		check(bytes, jwks);
		return null;
	} catch (e) {
		if (e instanceof Refused) return e.message;
		return `${e.name}: ${e.message}`;
	}
}

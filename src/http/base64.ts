/**
 * A proto3 JSON bytes field: standard or URL-safe base64, with or without padding, line ends inside allowed
 * (https://protobuf.dev/programming-guides/json/). As protojson reads it: a length that is a multiple of four means
 * padded, any other means unpadded. Returns undefined for anything else.
 */
export function decodeBase64(text: string): Uint8Array | undefined {
  const padded = text.length % 4 === 0;
  const compact = text.replace(/[\r\n]/g, '');
  const body = padded ? compact.replace(/={1,2}$/, '') : compact;
  if (padded && compact.length % 4 !== 0) return undefined;
  if (body.length % 4 === 1) return undefined;
  if (!/^[A-Za-z0-9+/]*$/.test(body) && !/^[A-Za-z0-9_-]*$/.test(body)) return undefined;
  return Buffer.from(body, 'base64');
}

// Whether a photo's colour profile is so far from sRGB that Python converts its values before filling, which this page
// does not: pconv.images.colour.

/** The network's tone curve, and how far from it a curve may be: as in pconv.images.colour.profiles. */
const GAMMA = 2.2;
const NEAR = 0.05;
const CURVES = ["rTRC", "gTRC", "bTRC", "kTRC"];
/** Transfer functions of a PNG's cICP that are far from it: linear, PQ and HLG. */
const FAR_TRANSFERS = [8, 16, 18];
const STEPS = 64;

/** @typedef {(value: number) => number} Curve The light for a stored value, both in 0..1. */

/** @param {Curve} light */
function isFar(light) {
  for (let i = 0; i <= STEPS; i++) {
    if (Math.abs(Math.max(0, light(i / STEPS)) ** (1 / GAMMA) - i / STEPS) > NEAR) return true;
  }
  return false;
}

/** @param {Uint8Array} icc an ICC profile @returns {boolean} false for a profile that cannot be read, as it is not used then */
export function isFarFromSrgb(icc) {
  const view = new DataView(icc.buffer, icc.byteOffset, icc.byteLength);
  try {
    /** @type {Map<string, number>} */
    const tags = new Map();
    for (let i = 0, at = 132; i < Math.min(view.getUint32(128), 200); i++, at += 12) {
      tags.set(String.fromCharCode(...icc.subarray(at, at + 4)), view.getUint32(at + 4));
    }
    const curves = CURVES.flatMap((name) => tags.get(name) ?? []);
    return curves.length ? curves.some((at) => isFar(curveAt(view, at))) : tags.has("A2B0");
  } catch {
    return false;
  }
}

/** A curv or para tag (ICC.1:2022, 10.6 and 10.18). @param {DataView} view @param {number} at @returns {Curve} */
function curveAt(view, at) {
  if (view.getUint32(at) === 0x63757276) {
    const count = view.getUint32(at + 8);
    const entry = (/** @type {number} */ i) => view.getUint16(at + 12 + 2 * i);
    if (count === 0) return (x) => x;
    if (count === 1) return (x) => x ** (entry(0) / 256);
    return (x) => {
      const place = Math.min(Math.floor(x * (count - 1)), count - 2);
      return (entry(place) + (entry(place + 1) - entry(place)) * (x * (count - 1) - place)) / 65535;
    };
  }
  if (view.getUint32(at) !== 0x70617261) throw new RangeError("another kind of curve");
  const kind = view.getUint16(at + 8);
  const numbers = Array.from({ length: [1, 3, 4, 5, 7][kind] }, (_, i) => view.getInt32(at + 12 + 4 * i) / 65536);
  const [g, a = 1, b = 0, c = 0, d = 0, e = 0, f = 0] = numbers;
  if (kind === 0) return (x) => x ** g;
  if (kind < 3) return (x) => (x >= -b / a ? (a * x + b) ** g + c : c);
  return (x) => (x >= d ? (a * x + b) ** g + e : c * x + f);
}

/**
 * The same of a PNG, whose chunks count in this order: cICP, iCCP, sRGB, gAMA.
 * @param {(name: string) => Uint8Array<ArrayBuffer> | undefined} chunk
 * @returns {Promise<boolean>}
 */
export async function isPngFarFromSrgb(chunk) {
  const [cicp, iccp, gamma] = [chunk("cICP"), chunk("iCCP"), chunk("gAMA")];
  if (cicp) return FAR_TRANSFERS.includes(cicp[1]);
  if (iccp) {
    const packed = new Blob([iccp.subarray(iccp.indexOf(0) + 2)]).stream();
    const icc = await new Response(packed.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer().catch(() => null);
    return icc !== null && isFarFromSrgb(new Uint8Array(icc));
  }
  if (chunk("sRGB") || gamma?.length !== 4) return false;
  const exponent = 100000 / new DataView(gamma.buffer, gamma.byteOffset).getUint32(0);
  return exponent >= 0.1 && exponent <= 10 && isFar((x) => x ** exponent);
}

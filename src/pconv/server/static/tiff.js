// How large a TIFF is: browsers do not show TIFF, and the server wants a mask of the photo's size to show it as PNG.

const [WIDTH, HEIGHT, ORIENTATION] = [256, 257, 274];
const SHORT = 3;
const ENTRY = 12;

/** @param {Blob} blob @returns {Promise<{width: number, height: number} | null>} upright; null: not to be found */
export async function tiffSize(blob) {
  const head = new DataView(await blob.slice(0, 8).arrayBuffer());
  if (head.byteLength < 8) return null;
  const little = head.getUint8(0) === 0x49; // "II" or "MM"
  const start = head.getUint32(4, little);
  const directory = new DataView(await blob.slice(start, start + 2 + ENTRY * 200).arrayBuffer());
  if (directory.byteLength < 2) return null;
  const entries = Math.min(directory.getUint16(0, little), Math.floor((directory.byteLength - 2) / ENTRY));
  /** @type {Map<number, number>} */
  const values = new Map();
  for (let i = 0; i < entries; i++) {
    const at = 2 + ENTRY * i;
    const short = directory.getUint16(at + 2, little) === SHORT;
    values.set(directory.getUint16(at, little), directory[short ? "getUint16" : "getUint32"](at + 8, little));
  }
  const [width, height] = [values.get(WIDTH), values.get(HEIGHT)];
  if (!width || !height) return null;
  const onItsSide = (values.get(ORIENTATION) ?? 1) >= 5;
  return onItsSide ? { width: height, height: width } : { width, height };
}

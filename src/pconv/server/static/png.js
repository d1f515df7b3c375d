// Hole maps as greyscale PNG: white = hole. Written row by row, so that 24 megapixels never lie there as bytes.

/** @typedef {import("./holes.js").HoleMap} HoleMap */

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const GREY = 0;
const ROWS_AT_ONCE = 128;

/**
 * @param {HoleMap} map
 * @param {1 | 8} depth bits per pixel
 * @returns {Promise<Blob>}
 */
export async function greyPng(map, depth) {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, map.width);
  view.setUint32(4, map.height);
  header.set([depth, GREY, 0, 0, 0], 8);
  const pixels = await deflated(map, depth);
  const parts = [new Uint8Array(SIGNATURE), ...chunk("IHDR", header), ...chunk("IDAT", pixels)];
  return new Blob([...parts, ...chunk("IEND", new Uint8Array(0))], { type: "image/png" });
}

/** @param {HoleMap} map @param {1 | 8} depth */
async function deflated(map, depth) {
  const stream = new CompressionStream("deflate");
  const written = write(stream.writable.getWriter(), map, depth);
  const bytes = await new Response(stream.readable).arrayBuffer();
  await written;
  return new Uint8Array(bytes);
}

/**
 * @param {WritableStreamDefaultWriter<BufferSource>} writer
 * @param {HoleMap} map
 * @param {1 | 8} depth
 */
async function write(writer, map, depth) {
  const rowBytes = 1 + Math.ceil((map.width * depth) / 8); // the first says how the row is filtered: not at all
  for (let top = 0; top < map.height; top += ROWS_AT_ONCE) {
    const rows = Math.min(ROWS_AT_ONCE, map.height - top);
    const bytes = new Uint8Array(rows * rowBytes);
    for (let row = 0; row < rows; row++) {
      const to = row * rowBytes + 1;
      const from = (top + row) * map.stride;
      for (let word = 0; word < map.stride; word++) {
        const bits = map.words[from + word];
        if (!bits) continue;
        if (depth === 1) {
          for (let i = 0; i < 4; i++) {
            const at = word * 4 + i;
            if (at < rowBytes - 1) bytes[to + at] = REVERSED[(bits >>> (8 * i)) & 255];
          }
        } else {
          for (let i = 0; i < 32; i++) if ((bits >>> i) & 1) bytes[to + word * 32 + i] = 255;
        }
      }
    }
    await writer.write(bytes);
  }
  await writer.close();
}

/**
 * @param {string} type
 * @param {Uint8Array<ArrayBuffer>} data
 * @returns {Uint8Array<ArrayBuffer>[]} a chunk of PNG, in pieces
 */
export function chunk(type, data) {
  const head = new Uint8Array(8);
  new DataView(head.buffer).setUint32(0, data.length);
  for (let i = 0; i < 4; i++) head[4 + i] = type.charCodeAt(i);
  const sum = new Uint8Array(4);
  new DataView(sum.buffer).setUint32(0, ~crc(data, crc(head.subarray(4), -1)));
  return [head, data, sum];
}

/** A byte with its bits in the other order: PNG's first pixel is the highest bit. */
const REVERSED = Uint8Array.from({ length: 256 }, (_, byte) => {
  let reversed = 0;
  for (let bit = 0; bit < 8; bit++) if (byte & (1 << bit)) reversed |= 128 >> bit;
  return reversed;
});

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

/** @param {Uint8Array} bytes @param {number} sum */
function crc(bytes, sum) {
  for (const byte of bytes) sum = CRC[(sum ^ byte) & 255] ^ (sum >>> 8);
  return sum;
}

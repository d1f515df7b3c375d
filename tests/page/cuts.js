// What test_static.py runs in the page: cuts a mask, and fills it with a network that is a formula.
(async ([height, width, bytes, multiple, memory, feather]) => {
  const { Mask, MEMORY, regions, tileSide, tiles, deepInside, depthSteps, smallerByStrips, neededOfSmaller, surfaceStart,
          mostPixels, fillHoles } = await import(
    document.querySelector("script[type=module]").src.replace("main.js", "browser/tiling.js")
  );
  const decoded = Uint8Array.from(atob(bytes), (char) => char.charCodeAt(0));
  const hole = new Mask(height, width, decoded.slice(0, height * width));
  const pixels = decoded.slice(height * width);
  const base64 = (array) => {
    const data = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    let text = "";
    for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
    return btoa(text);
  };
  const list = ({ top, bottom, left, right }) => [top, bottom, left, right];
  const cuts = regions(hole, multiple).map(({ box, wanted }) => {
    const side = tileSide(wanted, mostPixels(memory, box));
    return { box: list(box), count: wanted.data.reduce((sum, each) => sum + each, 0), side,
             tiles: tiles(wanted, side).map(list) };
  });
  const read = ({ top, bottom, left, right }) => {
    const window = new Float32Array(3 * (bottom - top) * (right - left));
    let at = 0;
    for (let c = 0; c < 3; c++) for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) {
      window[at++] = pixels[3 * (y * width + x) + c] / 255;
    }
    return window;
  };
  const deep = deepInside(hole);
  let start = null;
  let needed = null;
  if (deep) {
    const smaller = smallerByStrips((top, bottom) => read({ top, bottom, left: 0, right: width }), hole);
    needed = base64(neededOfSmaller(deep, smaller).data);
    const cells = { ...smaller.image };
    start = { scale: smaller.scale, image: base64(smaller.image.data), hole: base64(smaller.hole.data),
              window: base64(surfaceStart(cells, smaller.scale, { top: 3, bottom: 50, left: 1, right: 70 })) };
  }
  let shares = [];
  const runner = { multiple, estimates: true, memory, onProgress: (share) => shares.push(share),
    async run(known, { height: h, width: w, data }, [top, left], estimate) {
      const filled = known.slice();
      for (let i = 0; i < h * w; i++) if (data[i]) for (let c = 0; c < 3; c++) {
        const pattern = (((top + Math.floor(i / w)) * 7 + (left + i % w) * 13 + c * 5 + h + w) % 101) / 101;
        filled[c * h * w + i] = estimate?.data[i] ? (pattern + known[c * h * w + i]) / 2 : pattern;
      }
      return filled;
    } };
  const image = { read, write({ top, bottom, left, right }, colours, opacity) {
    const size = (bottom - top) * (right - left);
    for (let i = 0; i < size; i++) if (opacity[i]) for (let c = 0; c < 3; c++) {
      const at = 3 * ((top + Math.floor(i / (right - left))) * width + left + i % (right - left)) + c;
      const old = pixels[at] / 255;
      pixels[at] = Math.round((opacity[i] < 1 ? old + (colours[c * size + i] - old) * opacity[i] : colours[c * size + i]) * 255);
    }
  } };
  await fillHoles(runner, image, hole, { feather });
  return { cuts, deep: deep && base64(deep.data), steps: feather ? base64(depthSteps(hole, feather, Math.min(feather, 32))) : "",
           start, needed, filled: base64(pixels), shares };
})

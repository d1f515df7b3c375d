// Shapes as rows of pixels: pure geometry, in pixels of the photo. A pixel is inside when its centre is.

/** @typedef {import("./holes.js").Box} Box */
/** @typedef {{x: number, y: number}} Point */
/** @typedef {(y: number, x0: number, x1: number) => void} Span Pixels x0 <= x < x1 of row y. */
/** @typedef {{box: Box, each: (y0: number, y1: number, span: Span) => void}} Rows A shape, and its rows on demand. */

export const outline = {
  /**
   * What a round brush covers on its way from a to b.
   * @param {Point} a
   * @param {Point} b
   * @param {number} diameter
   * @returns {Rows}
   */
  stroke(a, b, diameter) {
    if (diameter < 3) [a, b] = [centred(a), centred(b)]; // else the smallest brush may miss every centre
    const radius = Math.max(0.5, diameter / 2);
    const length = Math.hypot(b.x - a.x, b.y - a.y);
    const side = length
      ? { x: ((a.y - b.y) / length) * radius, y: ((b.x - a.x) / length) * radius }
      : { x: 0, y: 0 };
    const corners = [
      { x: a.x + side.x, y: a.y + side.y },
      { x: b.x + side.x, y: b.y + side.y },
      { x: b.x - side.x, y: b.y - side.y },
      { x: a.x - side.x, y: a.y - side.y },
    ];
    return {
      box: {
        x0: Math.floor(Math.min(a.x, b.x) - radius),
        y0: Math.floor(Math.min(a.y, b.y) - radius),
        x1: Math.ceil(Math.max(a.x, b.x) + radius) + 1,
        y1: Math.ceil(Math.max(a.y, b.y) + radius) + 1,
      },
      each(y0, y1, span) {
        for (let y = y0; y < y1; y++) {
          const line = y + 0.5;
          let left = Infinity;
          let right = -Infinity;
          for (const end of [a, b]) {
            const half = radius * radius - (line - end.y) ** 2;
            if (half < 0) continue;
            left = Math.min(left, end.x - Math.sqrt(half));
            right = Math.max(right, end.x + Math.sqrt(half));
          }
          for (let i = 0; length && i < 4; i++) {
            const p = corners[i];
            const q = corners[(i + 1) % 4];
            if (p.y === q.y || (line - p.y) * (line - q.y) > 0) continue;
            const x = p.x + ((line - p.y) / (q.y - p.y)) * (q.x - p.x);
            left = Math.min(left, x);
            right = Math.max(right, x);
          }
          if (left <= right) span(y, Math.ceil(left - 0.5), Math.floor(right - 0.5) + 1);
        }
      },
    };
  },

  /**
   * @param {number} x0
   * @param {number} y0
   * @param {number} x1
   * @param {number} y1
   * @returns {Rows}
   */
  rectangle(x0, y0, x1, y1) {
    const box = {
      x0: Math.floor(Math.min(x0, x1)),
      y0: Math.floor(Math.min(y0, y1)),
      x1: Math.ceil(Math.max(x0, x1)),
      y1: Math.ceil(Math.max(y0, y1)),
    };
    return {
      box,
      each(from, to, span) {
        for (let y = from; y < to; y++) span(y, box.x0, box.x1);
      },
    };
  },

  /**
   * Everything that a closed line goes round, also where it crosses itself.
   * @param {Point[]} points
   * @returns {Rows | null}
   */
  lasso(points) {
    if (points.length < 3) return null;
    const xs = points.map((point) => point.x);
    const ys = points.map((point) => point.y);
    const box = {
      x0: Math.floor(xs.reduce((a, b) => Math.min(a, b))),
      y0: Math.floor(ys.reduce((a, b) => Math.min(a, b))),
      x1: Math.ceil(xs.reduce((a, b) => Math.max(a, b))),
      y1: Math.ceil(ys.reduce((a, b) => Math.max(a, b))),
    };
    return {
      box,
      each(from, to, span) {
        for (let y = from; y < to; y++) {
          const line = y + 0.5;
          /** @type {{x: number, turn: number}[]} */
          const crossings = [];
          for (let i = 0; i < points.length; i++) {
            const p = points[i];
            const q = points[(i + 1) % points.length];
            if (p.y <= line === q.y <= line) continue;
            const x = p.x + ((line - p.y) / (q.y - p.y)) * (q.x - p.x);
            crossings.push({ x, turn: q.y > p.y ? 1 : -1 });
          }
          crossings.sort((one, other) => one.x - other.x);
          let winding = 0;
          for (let i = 0; i + 1 < crossings.length; i++) {
            winding += crossings[i].turn;
            if (winding) span(y, Math.ceil(crossings[i].x - 0.5), Math.floor(crossings[i + 1].x - 0.5) + 1);
          }
        }
      },
    };
  },
};

/** @param {Point} point */
function centred(point) {
  return { x: Math.floor(point.x) + 0.5, y: Math.floor(point.y) + 0.5 };
}

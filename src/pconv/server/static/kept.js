// Small things that outlive a reload. Where the browser forbids that, they last as long as the page.

/** @typedef {"localStorage" | "sessionStorage"} Area for the browser, for the tab */

/** @type {Map<string, string>} */
const here = new Map();

/** @param {Area} area @param {string} name @param {string} value */
export function keep(area, name, value) {
  here.set(name, value);
  try {
    window[area].setItem(name, value);
  } catch {
    // forbidden, or full
  }
}

/** @param {Area} area @param {string} name @returns {string | null} */
export function kept(area, name) {
  try {
    return window[area].getItem(name) ?? here.get(name) ?? null;
  } catch {
    return here.get(name) ?? null;
  }
}

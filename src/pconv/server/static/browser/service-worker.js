// Keeps the files of one version of the page, so that it works without a network. `pconv page` writes BUILD before this:
// {version, files: {path: SHA-256}, policy}. The model comes into the same cache once the page has checked it. All files
// but index.html are in a folder of their version, so a tab never gets one of another.

const PLACE = new URL("./", self.location.href);
const NAME = `pconv ${PLACE.pathname} ${BUILD.version}`;

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("message", (event) => event.data === "take over" && self.skipWaiting());
self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || !url.href.startsWith(PLACE.href)) return;
  event.respondWith(answer(event.request, url));
  if (event.request.mode === "navigate") event.waitUntil(tidy());
});

async function install() {
  const cache = await caches.open(NAME);
  await Promise.all(
    Object.entries(BUILD.files).map(async ([path, sha256]) => {
      const response = await fetch(new URL(path, PLACE), { cache: "no-cache" });
      if (!response.ok) throw new Error(`${path}: ${response.status}`);
      const bytes = await response.arrayBuffer();
      const digest = [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))];
      if (digest.map((byte) => byte.toString(16).padStart(2, "0")).join("") !== sha256) throw new Error(`${path} is of another version`);
      const headers = new Headers(response.headers);
      for (const name of ["Content-Encoding", "Content-Length"]) headers.delete(name);
      headers.set("Content-Security-Policy", BUILD.policy); // for workers, which have no meta element
      await cache.put(new URL(path, PLACE), new Response(bytes, { headers }));
    }),
  );
}

async function activate() {
  await self.clients.claim();
  await tidy();
}

/** Caches of other versions go once no tab holds the lock of their name. */
async function tidy() {
  if (self.registration.installing || self.registration.waiting) return; // whose cache nobody holds yet
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  const old = (await caches.keys()).filter((name) => name.startsWith(`pconv ${PLACE.pathname} `) && name !== NAME);
  await Promise.all(old.filter((name) => !held.some((lock) => lock.name === name)).map((name) => caches.delete(name)));
}

async function answer(request, url) {
  if (url.pathname !== PLACE.pathname && url.pathname !== `${PLACE.pathname}index.html`) {
    return (await caches.match(url.href, { ignoreSearch: true })) ?? fetch(request);
  }
  const cache = await caches.open(NAME);
  return (await cache.match(new URL("index.html", PLACE))) ?? fetch(request);
}

// Keeps the files of one version of the page, so that it works without a network. `pconv page` writes BUILD before this:
// {version, files: {path: SHA-256}, policy}. The model comes into the same cache once the page has checked it.

const PLACE = new URL("./", self.location.href);
const NAME = `pconv ${PLACE.pathname} ${BUILD.version}`;

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("message", (event) => event.data === "take over" && self.skipWaiting());
self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method === "GET" && url.href.startsWith(PLACE.href)) event.respondWith(answer(event.request, url));
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

/** The caches of older versions go once no page uses them. */
async function activate() {
  const old = (await caches.keys()).filter((name) => name.startsWith(`pconv ${PLACE.pathname} `) && name !== NAME);
  await Promise.all(old.map((name) => caches.delete(name)));
  await self.clients.claim();
}

async function answer(request, url) {
  const cache = await caches.open(NAME);
  const path = url.pathname === PLACE.pathname ? new URL("index.html", PLACE) : url.pathname;
  return (await cache.match(path, { ignoreSearch: true })) ?? fetch(request);
}

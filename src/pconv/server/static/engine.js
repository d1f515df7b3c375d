export { serverEngine as engine } from "./server-engine.js";

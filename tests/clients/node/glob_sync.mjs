// Node.js 20 has no fs.globSync, which the conformance suite imports, but does not need to test a server.

import fs from "node:fs";
import { register } from "node:module";

const url = (text) => `data:text/javascript,${encodeURIComponent(text)}`;
const shim = `
  export * from "node:fs";
  export { default } from "node:fs";
  export const globSync = undefined;
`;
const hooks = `
  export async function resolve(name, context, next) {
    const isOfTheSuite = name === "fs" && context.parentURL.includes("/conformance/");
    return isOfTheSuite ? { url: ${JSON.stringify(url(shim))}, shortCircuit: true } : next(name, context);
  }
`;
if (!fs.globSync) {
  register(url(hooks));
}

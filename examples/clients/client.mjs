// Run the cases of a kit in ONNX Runtime Web through Node: node client.mjs KIT OUTPUTS

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-web";
import { answer } from "./kit.mjs";

const [kit, outputs] = process.argv.slice(2);
await mkdir(outputs, { recursive: true });
await answer(
  ort,
  { provider: "wasm", device: `Node ${process.version}` },
  async (file) => new Uint8Array(await readFile(join(kit, file))).buffer,
  (file, content) => writeFile(join(outputs, file), content),
);

// The other end of ort_web.py: opens an ONNX file in ONNX Runtime Web, then answers runs until its input ends.
//
// A message is the length of its head (uint32, little-endian), the head (JSON), and the bytes of its tensors.

import { join } from "node:path";
import { pathToFileURL } from "node:url";

const KINDS = {
  float16: Uint16Array, float32: Float32Array, float64: Float64Array, bool: Uint8Array,
  int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array,
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, uint64: BigUint64Array,
};
const chunks = process.stdin[Symbol.asyncIterator]();
let held = Buffer.alloc(0);
console.log = console.error; // Standard output has the answers alone.

async function take(count) {
  const parts = [held];
  for (let length = held.length; length < count; ) {
    const { value, done } = await chunks.next();
    if (done) process.exit(0);
    parts.push(value);
    length += value.length;
  }
  const whole = Buffer.concat(parts);
  held = whole.subarray(count);
  return whole.subarray(0, count);
}

async function question() {
  return JSON.parse(await take((await take(4)).readUInt32LE()));
}

function say(head, contents = []) {
  const text = Buffer.from(JSON.stringify(head));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  process.stdout.write(Buffer.concat([length, text, ...contents]));
}

const asked = await question();
let session, ort;
try {
  ort = await import(pathToFileURL(join(asked.package, "dist", "ort.node.min.mjs")));
  ort.env.wasm.numThreads = asked.threads;
  session = await ort.InferenceSession.create(asked.file, { externalData: asked.data });
  const ports = (all) => all.map(({ name, type, shape }) => ({ name, dtype: type ?? "other", shape: shape ?? [] }));
  say({ inputs: ports(session.inputMetadata), outputs: ports(session.outputMetadata) });
} catch (error) {
  say({ error: String(error?.message ?? error) });
  process.exit(0);
}
for (;;) {
  const { inputs } = await question();
  const feeds = {};
  for (const { name, dtype, shape, bytes } of inputs) {
    const content = new Uint8Array(await take(bytes)); // a copy, which begins where a number may
    feeds[name] = new ort.Tensor(dtype, new KINDS[dtype](content.buffer), shape);
  }
  try {
    const results = Object.entries(await session.run(feeds));
    const contents = results.map(([, { data }]) => Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    const outputs = results.map(([name, { type, dims }], at) => (
      { name, dtype: type, shape: dims, bytes: contents[at].length }
    ));
    say({ outputs }, contents);
  } catch (error) {
    say({ error: String(error?.message ?? error) });
  }
}

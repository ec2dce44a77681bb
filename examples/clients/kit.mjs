// Run the cases of a kit in ONNX Runtime Web: what client.mjs and client.html share.

const KINDS = {
  float16: Uint16Array, float32: Float32Array, float64: Float64Array, bool: Uint8Array,
  int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array,
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, uint64: BigUint64Array,
};

// `read(file)` gives the ArrayBuffer of a file of the kit; `write(file, content)` writes one of the outputs.
export async function answer(ort, { provider, device }, read, write) {
  const index = JSON.parse(new TextDecoder().decode(await read("kit.json")));
  const model = await read("model.onnx");
  const path = "model.onnx.data";
  ort.env.wasm.numThreads = 1; // More need a page that is isolated from other origins.
  const externalData = index.model.data_sha256 ? [{ path, data: await read(path) }] : [];
  const session = await ort.InferenceSession.create(model, { executionProviders: [provider], externalData });
  const cases = [];
  for (const { case: number, inputs } of index.cases) {
    const feeds = {};
    for (const { name, dtype, shape, file } of inputs) {
      feeds[name] = new ort.Tensor(dtype, new KINDS[dtype](await read(file)), shape);
    }
    const results = await session.run(feeds);
    const outputs = [];
    for (const [place, { name }] of index.outputs.entries()) {
      const { type: dtype, dims, data } = results[name];
      const file = `${number}-${place}.bin`;
      await write(file, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      outputs.push({ name, dtype, shape: [...dims], file });
    }
    cases.push({ case: number, outputs });
  }
  const runtime = { name: "onnxruntime-web", version: ort.env.versions.web, provider, device };
  const told = { format: 1, kit: index.kit, runtime, cases };
  if (globalThis.crypto?.subtle) { // A page from another machine has it over https alone.
    const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", model));
    told.model_sha256 = [...sum].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }
  await write("outputs.json", JSON.stringify(told, null, 1));
}

// Adapter of @vladmandic/human, whose models are in its package; runs on Node beside packages installed in
// FOLDER, by the interface of adapter.py.
//
//   node benchmarks/peers/human_predict.mjs FOLDER LIST.csv OUT.csv      (LIST.csv: path)
//   node benchmarks/peers/human_predict.mjs FOLDER --photo PHOTO.jpg     (milliseconds, decode to answer)
//
// The package detects first, with the models it ships and its own settings but for what no age needs. An
// image in which it finds no face goes whole to its age model, fed as the package feeds it a face.

import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const ROUNDS = 40;
const WARM_UP = 3;
const [folder, ...args] = process.argv.slice(2);
const modules = path.resolve(folder, 'node_modules');
const require = createRequire(path.join(modules, '/'));
const jpeg = require('jpeg-js');
const { Human } = require(path.join(modules, '@vladmandic/human/dist/human.node-wasm.js'));

// Node's fetch takes no file:// addresses, which the package asks for its models
const web = globalThis.fetch;
globalThis.fetch = async (address, options) => {
  if (!String(address).startsWith('file://')) return web(address, options);
  const type = String(address).endsWith('.json') ? 'application/json' : 'application/octet-stream';
  return new Response(fs.readFileSync(new URL(address)), { headers: { 'content-type': type } });
};

const off = { enabled: false };
const human = new Human({
  backend: 'wasm',
  wasmPath: path.join(modules, '@tensorflow/tfjs-backend-wasm/dist/'),
  modelBasePath: `${pathToFileURL(path.join(modules, '@vladmandic/human/models'))}/`,
  debug: false,
  cacheSensitivity: 0, // every image is new
  face: { iris: off, emotion: off, antispoof: off, liveness: off },
  body: off,
  hand: off,
  gesture: off,
  object: off,
  filter: off,
});

function decode(file) {
  const image = jpeg.decode(fs.readFileSync(file), { useTArray: true, formatAsRGBA: false });
  return human.tf.tensor4d(image.data, [1, image.height, image.width, 3], 'int32');
}

async function ageWhole(input) {
  const resized = human.tf.image.resizeBilinear(input, [224, 224], false);
  const results = human.models.models.faceres.execute(resized);
  const ages = await results.find((tensor) => tensor.shape[1] === 100).data();
  human.tf.dispose([resized, ...results]);
  const best = ages.indexOf(Math.max(...ages));
  const [below, above] = [ages[best - 1] ?? 0, ages[best + 1] ?? 0];
  return below > above ? best - 10 * below : best + 10 * above; // as the package reads it
}

async function answer(file) {
  const input = decode(file);
  const { face, error } = await human.detect(input);
  if (error) throw new Error(error);
  const size = (found) => found.box[2] * found.box[3];
  const largest = face.toSorted((a, b) => size(b) - size(a))[0];
  const years = largest?.age ?? (await ageWhole(input)); // it may find a face and then give it no age
  human.tf.dispose(input);
  return [years, Boolean(largest)];
}

async function timePhoto(file) {
  const times = [];
  for (let i = 0; i < ROUNDS + WARM_UP; i++) {
    const start = performance.now();
    await answer(file);
    times.push(performance.now() - start);
  }
  return times.slice(WARM_UP).sort((a, b) => a - b)[ROUNDS / 2];
}

// a path is the only cell that can hold a comma or a quote
const unquote = (cell) => (cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell);
const quote = (text) => (/[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

await human.load();
if (args[0] === '--photo') {
  console.log(await timePhoto(args[1]));
} else {
  const [listed, out] = args;
  const files = fs.readFileSync(listed, 'utf8').trim().split(/\r?\n/).slice(1).map(unquote);
  const rows = [];
  for (const file of files) {
    const [years, found] = await answer(file);
    rows.push(`${quote(file)},${found ? 'True' : 'False'},${years}`);
  }
  fs.writeFileSync(out, ['path,found,predicted_age', ...rows, ''].join('\n'));
}

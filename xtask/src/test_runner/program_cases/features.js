// A little of everything that QuickJS has, printed; what it prints must not depend on where it runs.
const fibonacci = function* () {
  for (let [a, b] = [0n, 1n]; ; [a, b] = [b, a + b]) yield a;
};
const first = [];
for (const number of fibonacci()) {
  if (first.length === 12) break;
  first.push(number);
}
console.log("generators and big integers:", first, 2n ** 127n);
console.log("floats:", 0.1 + 0.2, 1 / 3, -0, 1e21, Number.MAX_SAFE_INTEGER, NaN, Infinity, Math.hypot(3, 4));
console.log("text:", "straße".toUpperCase(), "a\u0000b".length, [..."🦀é"].length, "ß🦀");
console.log("patterns:", "2026-11-22".replace(/(?<y>\d+)-(?<m>\d+)-(?<d>\d+)/u, "$<d>.$<m>.$<y>"));
console.log("objects:", JSON.stringify({ b: [1, { c: null }], a: "x" }), { toString: () => "by itself" }, [], {});
console.log("time:", new Date(Date.UTC(2024, 1, 29, 12, 30)).toISOString(), new Date(0).getTimezoneOffset());

const words = new Map();
for (const word of "the cat and the dog and the bird".split(" ")) words.set(word, (words.get(word) ?? 0) + 1);
console.log("maps:", [...words].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).join("; "));

class Shape {
  #sides;
  constructor(sides) {
    this.#sides = sides;
  }
  get sides() {
    return this.#sides;
  }
}
console.log("classes:", new Shape(4).sides, new (class extends Shape {})(3) instanceof Shape, Symbol("s"));

const bytes = new Uint8Array(1 << 14).map((_, index) => (index * 31) & 255);
console.log("bytes:", bytes.reduce((sum, byte) => (sum * 33 + byte) >>> 0, 5381));

try {
  null.property;
} catch (error) {
  console.log("errors:", error instanceof TypeError, String(error));
}
const depth = (level) => {
  try {
    return depth(level + 1);
  } catch (error) {
    return error instanceof RangeError || error instanceof InternalError;
  }
};
console.log("recursion ends:", depth(0));

(async () => {
  const values = await Promise.all([1, Promise.resolve(2), (async () => 3)()]);
  console.log("promises:", values);
})().finally(() => print("the end"));
console.log("not yet the end");

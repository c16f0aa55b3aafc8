// Checks open.hlog and *.hgrm of a directory with HdrHistogram's library for JavaScript. See README.md.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import hdr from "hdr-histogram-js";

const directory = process.argv[2];
const baseMs = 1_795_426_867_125;

function same(what, read, expected) {
  const [one, other] = [read, expected].map((value) => JSON.stringify(value));
  if (one !== other) {
    console.error(`${what}: read ${one}, expected ${other}`);
    process.exit(1);
  }
}

/** Lines of one layout whose numbers are the same but for the rounding of their last digit. */
function sameLine(what, our, their) {
  const numbers = /[0-9]+(\.[0-9]+)?/g;
  const hidden = (line) => line.replaceAll(numbers, (number) => number.replaceAll(/[0-9]/g, "9"));
  same(`${what}, layout`, hidden(our), hidden(their));
  const [ours, theirs] = [our, their].map((line) => line.match(numbers) ?? []);
  ours.forEach((number, index) => {
    const lastDigit = number.includes(".") ? 10 ** -number.split(".")[1].length : 0;
    const isNear = Math.abs(Number(number) - Number(theirs[index])) <= 1.001 * lastDigit;
    same(`${what}, ${number} beside ${theirs[index]}`, isNear, true);
  });
}

/** Every value that was recorded, as the lowest equivalent, with its count. */
function valuesOf(histogram) {
  const values = [];
  for (let index = 0; index < histogram.countsArrayLength; index++) {
    const count = histogram.getCountAtIndex(index);
    if (count > 0) values.push([histogram.valueFromIndex(index), count]);
  }
  return values;
}

const sumOf = (values) => values.reduce((sum, [value, count]) => sum + BigInt(value) * BigInt(count), 0n).toString();

const expected = JSON.parse(readFileSync(join(directory, "open.hlog.expected.json"), "utf8"));
const text = readFileSync(join(directory, "open.hlog"), "utf8");
const reader = new hdr.HistogramLogReader(text, 64);
const sums = new Map();
let recorded = 0;
expected.forEach((line, number) => {
  const histogram = reader.nextIntervalHistogram();
  if (histogram === null) {
    console.error(`the log ends before interval ${number}`);
    process.exit(1);
  }
  const where = `interval ${number}`;
  same(`${where}, tag`, histogram.tag, line.tag);
  same(`${where}, start`, Math.round(histogram.startTimeStampMsec), baseMs + line.start * 1000);
  same(`${where}, end`, Math.round(histogram.endTimeStampMsec), baseMs + (line.start + line.seconds) * 1000);
  same(`${where}, count`, histogram.totalCount, line.count);
  const values = valuesOf(histogram);
  same(`${where}, values`, values, line.values);
  same(`${where}, sum`, sumOf(values), sumOf(line.values));
  if (line.count > 0) same(`${where}, max`, histogram.highestEquivalentValue(histogram.maxValue), line.max);
  if (!sums.has(line.tag)) {
    const shape = { lowestDiscernibleValue: 1, highestTrackableValue: 3_600_000_000_000, numberOfSignificantValueDigits: 3 };
    sums.set(line.tag, hdr.build({ ...shape, bitBucketSize: 64 }));
  }
  sums.get(line.tag).add(histogram);
  recorded += line.count;
});
same("after the last interval", reader.nextIntervalHistogram(), null);
same("tags", hdr.listTags(text).sort(), [...sums.keys()].sort());
console.log(`ok: ${expected.length} intervals, ${recorded} values`);

let lines = 0;
for (const [tag, histogram] of sums) {
  for (const [unit, nanoseconds] of [["us", 1e3], ["ms", 1e6]]) {
    const name = `${tag}.${unit}.hgrm`;
    const ours = readFileSync(join(directory, name), "utf8").split("\n");
    const theirs = histogram.outputPercentileDistribution(5, nanoseconds).split("\n");
    same(`${name}, lines`, ours.length, theirs.length);
    ours.forEach((our, index) => {
      let their = theirs[index];
      if (our.startsWith("#[Max")) [our, their] = [our, their].map((side) => side.split(",")[1]);
      sameLine(`${name}:${index + 1}`, our, their);
      lines++;
    });
  }
}
console.log(`ok: ${lines} lines of distributions`);

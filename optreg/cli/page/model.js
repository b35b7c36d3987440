// Model: what a spec's schedule does, as functions of the update, and the spec as YAML. No page is needed for it.

// What translated formulas use of Python, and of an mpmath context.
const py = {
  abs: Math.abs,
  and: (left, right) => (py.bool(left) ? right() : left),
  bool: (value) => (Array.isArray(value) ? value.length > 0 : Boolean(value)),
  enumerate: (values) => values.map((value, index) => [index, value]),
  float: Number,
  int: Math.trunc,
  item: (values, index) => values.at(index),
  len: (values) => values.length,
  max: (...values) => Math.max(...values.flat()),
  min: (...values) => Math.min(...values.flat()),
  or: (left, right) => (py.bool(left) ? left : right()),
  quotient: (a, b) => Math.floor(a / b),
  range: (...ends) => {
    const [begin, end, step] = ends.length === 1 ? [0, ends[0], 1] : [...ends, 1];
    return Array.from({length: Math.max(0, Math.ceil((end - begin) / step))}, (_, index) => begin + index * step);
  },
  remainder: (a, b) => ((a % b) + b) % b,
  sum: (values) => values.reduce((sum, value) => sum + Number(value), 0),
  zip: (...lists) => Array.from({length: Math.min(...lists.map((list) => list.length))}, (_, i) => lists.map((list) => list[i])),
};

const mp = {
  acos: Math.acos, asin: Math.asin, atan: Math.atan, atan2: Math.atan2, ceil: Math.ceil, cos: Math.cos, cosh: Math.cosh,
  e: Math.E, exp: Math.exp, expm1: Math.expm1, fabs: Math.abs, floor: Math.floor, inf: Infinity, ln: Math.log,
  log: (x, base) => (base === undefined ? Math.log(x) : Math.log(x) / Math.log(base)), log10: Math.log10,
  log1p: Math.log1p, mpf: Number, pi: Math.PI, power: Math.pow, sign: Math.sign, sin: Math.sin, sinh: Math.sinh,
  sqrt: Math.sqrt, tan: Math.tan, tanh: Math.tanh,
};

// A formula from its text; null if there is none.
function formulaOf(text) {
  return text ? new Function("py", "mp", `return ${text};`)(py, mp) : null;
}

// The function of a formula with these settings: its value at update t, where the base rate is `base`.
function bound(formula, settings) {
  const self = {...settings};
  if (formula.check) formula.check(self);
  return formula.rate
    ? (t, base) => formula.rate(self, base, t, mp)
    : (t, base) => base * formula.multiplier(self, t, mp);
}

// A schedule as a section of a spec states it, with its warm-up, as a function of the update and the base rate.
// `kind` says what is known of the schedule: formula, end (the setting that names its last step), own (whether it has
// a warm-up of its own).
function scheduled(kind, section) {
  const {name, warmup_steps: W, ...settings} = section;
  if (kind.own || !W) return bound(kind.formula, kind.own ? {...settings, warmup_steps: W} : settings);
  const last = kind.end ? settings[kind.end] : null;
  if (last !== null && last < W) throw new Error(`warmup_steps (${W}) must not be more than ${kind.end} (${last})`);
  const left = last === null ? null : last - W;
  const rest = bound(kind.formula, left === null ? settings : {...settings, [kind.end]: Math.max(left, 1)});
  const begin = left === 0 ? 1 : 0;
  return (t, base) => (t < W ? base * (t / W) : rest(t - W + begin, base));
}

// The value at a path of plain data.
function valueAt(data, path) {
  return path.reduce((inner, key) => (inner === undefined || inner === null ? undefined : inner[key]), data);
}

// A copy of plain data with a value at a path. What is missing on the way is made; a list that is missing is that of
// `whole`, since lists are replaced as a whole.
function withValue(data, path, value, whole) {
  if (path.length === 0) return value;
  const [key, ...rest] = path;
  const theirs = whole === undefined || whole === null ? undefined : whole[key];
  if (typeof key === "number") {
    const list = Array.isArray(data) ? [...data] : [];
    list[key] = withValue(list[key], rest, value, theirs);
    return list;
  }
  const own = data && typeof data === "object" && !Array.isArray(data) ? data : {};
  const inner = own[key] === undefined && typeof rest[0] === "number" ? theirs : own[key];
  return {...own, [key]: withValue(inner, rest, value, theirs)};
}

// A number as specs write it.
function numberText(value) {
  if (Number.isInteger(value) && Math.abs(value) < 1e15) {
    const digits = String(Math.abs(value));
    const grouped = digits.length > 4 ? digits.replace(/\B(?=(\d{3})+$)/g, "_") : digits;
    return (value < 0 ? "-" : "") + grouped;
  }
  const size = Math.abs(value);
  return (size < 1e-2 || size >= 1e6 ? value.toExponential() : String(value)).replace("e+", "e");
}

// Texts that a reader of YAML could take for something else are quoted.
const PLAIN_TEXT = /^[A-Za-z][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*$|^[0-9][0-9_.e]*[kMBT]?( [a-z]+( of [0-9][0-9_.e]*[kMBT]? [a-z]+)?|%)$/;
const NO_TEXT = /^(y|n|yes|no|on|off|true|false|null)$/i;

function scalarText(value, isFloat) {
  if (value === null) return "null";
  if (typeof value === "boolean") return String(value);
  if (typeof value === "number") {
    if (Number.isNaN(value)) return ".nan";
    if (!Number.isFinite(value)) return value > 0 ? ".inf" : "-.inf";
    return isFloat && Number.isInteger(value) && Math.abs(value) < 1e6 ? value.toFixed(1) : numberText(value);
  }
  return PLAIN_TEXT.test(value) && !NO_TEXT.test(value) ? value : JSON.stringify(value);
}

// Plain data as lines of YAML; `marked` holds the paths, joined by dots, whose lines are to be marked.
function yamlLines(data, marked = new Set()) {
  const lines = [];
  const isPlain = (value) => value === null || typeof value !== "object";
  const items = (value) => (Array.isArray(value) ? [...value.keys()] : Object.keys(value)).map((key) => [key, value[key]]);
  const isFlat = (value) => isPlain(value) || items(value).every(([, item]) => isPlain(item));
  const touches = (path) => [...marked].some((one) => one === path || one.startsWith(`${path}.`));
  const flow = (value) => {
    if (isPlain(value)) return scalarText(value);
    const inner = items(value).map(([key, item]) => (Array.isArray(value) ? "" : `${scalarText(key)}: `) + scalarText(item));
    return Array.isArray(value) ? `[${inner.join(", ")}]` : `{${inner.join(", ")}}`;
  };
  const write = (value, path, margin, head) => {
    const fits = isFlat(value) && (isPlain(value) || Array.isArray(value) || items(value).length === 0 || head.endsWith("- "));
    if (fits) {
      lines.push({text: (head + flow(value)).trimEnd(), marked: touches(path)});
      return;
    }
    if (!head.endsWith("- ") && head) lines.push({text: head.trimEnd(), marked: false});
    let first = head.endsWith("- ") ? head : null;
    for (const [key, item] of items(value)) {
      const label = Array.isArray(value) ? "- " : `${scalarText(key)}: `;
      write(item, path ? `${path}.${key}` : String(key), margin + "  ", (first ?? margin) + label);
      first = null;
    }
  };
  if (isFlat(data)) return [{text: flow(data), marked: false}];
  write(data, "", "", "");
  return lines;
}

// Model: what a spec's schedule does, as functions of the update, and the spec as YAML. No page is needed for it.

// What translated formulas use of Python, and of an mpmath context.
const py = {
  abs: Math.abs,
  and: (left, right) => (py.bool(left) ? right() : left),
  bool: (value) => (value instanceof Map || Array.isArray(value) ? py.len(value) > 0 : Boolean(value)),
  contains: (values, value) => (values instanceof Map ? values.has(value) : values.includes(value)),
  divmod: (a, b) => [py.quotient(a, b), py.remainder(a, b)],
  enumerate: (values) => py.list(values).map((value, index) => [index, value]),
  float: Number,
  int: Math.trunc,
  item: (values, key) => (values instanceof Map ? values.get(key) : values.at(key)),
  items: (values) => [...values.entries()],
  keys: (values) => [...values.keys()],
  len: (values) => (values instanceof Map ? values.size : values.length),
  list: (values) => (values instanceof Map ? [...values.keys()] : [...values]),
  max: (...values) => Math.max(...values.flat()),
  min: (...values) => Math.min(...values.flat()),
  next: (values) => values[0],
  or: (left, right) => (py.bool(left) ? left : right()),
  quotient: (a, b) => Math.floor(a / b),
  range: (...ends) => {
    const [begin, end, step] = ends.length === 1 ? [0, ends[0], 1] : [...ends, 1];
    return Array.from({length: Math.max(0, Math.ceil((end - begin) / step))}, (_, index) => begin + index * step);
  },
  remainder: (a, b) => ((a % b) + b) % b,
  sum: (values) => values.reduce((sum, value) => sum + Number(value), 0),
  values: (values) => [...values.values()],
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

// Quantities: lengths of a run, as specs write them.

const UNITS = {
  step: "steps", steps: "steps", update: "steps", updates: "steps", token: "tokens", tokens: "tokens",
  sample: "samples", samples: "samples", epoch: "epochs", epochs: "epochs", "%": "%",
};
const SUFFIXES = {"": 1, k: 1e3, K: 1e3, M: 1e6, B: 1e9, T: 1e12};
const QUANTITY = /^\s*([0-9._]+(?:e[-+]?[0-9]+)?)([kKMBT]?)(?:\s*(%)|\s+([a-z]+))\s*$/i;

// An amount and its unit; a number counts updates. Null for anything else.
function quantity(value) {
  if (typeof value === "number") return {amount: value, unit: "steps"};
  const found = typeof value === "string" ? QUANTITY.exec(value) : null;
  const unit = found && UNITS[found[3] ?? found[4]];
  return unit ? {amount: Number(found[1].replaceAll("_", "")) * SUFFIXES[found[2]], unit} : null;
}

// The smallest whole number that is not below x, which may be off by a rounding.
function ceiling(x) {
  const near = Math.round(x);
  return Math.abs(x - near) <= 1e-12 * Math.abs(x) ? near : Math.ceil(x);
}

const START = {update: 0, exact: null};

// The clock of a run. `batch` is a list of stages, each with its first update (begin), what an update consumes (each)
// and what all before it consumed (before), by unit. `epoch` and `horizon` are quantities, or null.
class Clock {
  constructor(batch, epoch, horizon) {
    Object.assign(this, {batch, epoch, horizon});
  }

  // A quantity in updates, tokens or samples.
  reduced(one) {
    if (one.unit === "%") {
      const whole = this.reduced(this.horizon);
      return {amount: (whole.amount * one.amount) / 100, unit: whole.unit};
    }
    return one.unit === "epochs" ? {amount: one.amount * this.epoch.amount, unit: this.epoch.unit} : one;
  }

  // The point that lies a quantity after another; `exact` keeps what rounding to updates would lose.
  after(begin, one) {
    const {amount, unit} = this.reduced(one);
    const known = begin.exact && begin.exact.unit === unit ? begin.exact.amount : this.consumed(begin.update, unit);
    const total = known + amount;
    return {update: this.firstAt(total, unit), exact: {amount: total, unit}};
  }

  at(one) {
    return this.after(START, one);
  }

  // What the updates before t consumed of a unit; null if that is not known.
  consumed(t, unit) {
    if (unit === "steps") return t;
    if (unit === "epochs") {
      const part = this.epoch ? this.consumed(t, this.epoch.unit) : null;
      return part === null ? null : part / this.epoch.amount;
    }
    const stage = this.batch.findLast((one) => one.begin <= t);
    if (!stage || stage.before[unit] === null || t === stage.begin) return stage ? stage.before[unit] : null;
    return stage.each[unit] === null ? null : stage.before[unit] + (t - stage.begin) * stage.each[unit];
  }

  // The first update before which at least `total` was consumed.
  firstAt(total, unit) {
    if (unit === "steps") return ceiling(total);
    const place = this.batch.findIndex((one, index) => {
      const next = this.batch[index + 1];
      return !next || total <= next.before[unit];
    });
    const stage = this.batch[place];
    return stage.begin + Math.max(0, ceiling((total - stage.before[unit]) / stage.each[unit]));
  }

  // The number of updates of a quantity that is counted back from a point.
  back(end, one) {
    const {amount, unit} = this.reduced(one);
    if (unit === "steps") return ceiling(amount);
    const whole = end.exact && end.exact.unit === unit ? end.exact.amount : this.consumed(end.update, unit);
    if (amount > whole) throw new Error("a length reaches back beyond the beginning of the run");
    return end.update - this.firstAt(whole - amount, unit);
  }

  // A number of updates: a quantity, or a list of them, that is counted from a point, or back from it.
  updates(value, point = START, isTail = false) {
    if (Array.isArray(value)) return value.map((item) => this.updates(item, point, isTail));
    const one = quantity(value);
    if (!one || typeof value === "number") return value;
    if (one.unit === "steps") return one.amount;
    return isTail ? this.back(point, one) : this.after(point, one).update - point.update;
  }

  // The end of the run; null if it is not stated.
  end() {
    return this.horizon ? this.at({amount: 100, unit: "%"}) : null;
  }
}

// Schedules. A kind says what is known of one, besides its formula: `defaults` of its settings; `counts`, the settings
// that count updates; `tail`, those of them that count back from the end; `end`, the one that names the last step;
// `levels`, what stands in a phase for those that set the first and the last level; `own`, whether it has a warm-up of
// its own; `warmed`, whether one may precede it.

// How others count the updates of a warm-up over W, as optreg/conventions.py says.
const CONVENTIONS = {
  transformers: {rising: (t, W) => t / W},
  optax: {rising: (t, W) => t / W},
  nanogpt: {rising: (t, W) => (t + 1) / (W + 1)},
  nanochat: {rising: (t, W) => (t + 1) / W},
  torchtitan: {rising: (t, W) => (t + 1) / W},
  olmo: {rising: (t, W) => t / W, early: 1},
  timm: {rising: (t, W) => t / W, covers: true},
};

// What a section says of how a schedule begins, apart from the settings of the schedule.
const WAYS = ["name", "warmup_steps", "warmup_from", "convention"];
const PHASE_KEYS = ["name", "for", "until", "from", "to", "warmup_steps"];

function without(section, keys, kept) {
  return Object.fromEntries(Object.entries(section).filter(([key]) => kept.includes(key) || !keys.includes(key)));
}

// The settings of a schedule that covers the run from one point to another, its lengths in updates.
function settingsOf(kind, section, keys, clock, begin, end) {
  const settings = {...kind.defaults, ...without(section, keys, kind.own ? ["warmup_steps"] : [])};
  for (const key of kind.counts) {
    const isTail = kind.tail.includes(key);
    if (key in settings) settings[key] = clock.updates(settings[key], isTail ? end : begin, isTail);
  }
  return settings;
}

// A schedule alone: its settings, as long as the run if nothing else is said.
function alone(kind, section, clock) {
  const whole = kind.end && section[kind.end] == null ? clock.end() : null;
  const stated = whole ? {...section, [kind.end]: whole.update} : section;
  const end = whole ?? (kind.end && stated[kind.end] != null ? clock.at(quantity(stated[kind.end])) : null);
  return settingsOf(kind, stated, WAYS, clock, START, end);
}

// A level as a share of `base`, or as it is if there is no base.
function levelOf(value, base) {
  if (typeof value !== "string") return base === null || value === 0 ? {value, share: base !== null} : {value: value / base, share: true};
  return {value: Number(value.replace("%", "").replaceAll("_", "")) / 100, share: true};
}

// A schedule with its warm-up, as a function of the update and the base rate; `lr` is the rate of the optimizer.
function scheduled(kind, section, clock, lr) {
  let settings = alone(kind, section, clock);
  const way = CONVENTIONS[section.convention];
  const W = clock.updates(section.warmup_steps ?? settings.warmup_steps ?? 0);
  const asItIs = kind.own && section.warmup_from === undefined;
  if (!way && (asItIs || !W)) return bound(kind.formula, settings);
  let begin = -W;
  if (way && way.covers) {
    begin = 0;
    if (kind.own) settings = {...settings, warmup_steps: 0};
  } else if (kind.own) {
    begin = 0;
  } else {
    const last = kind.end ? settings[kind.end] : null;
    if (last !== null && last < W) throw new Error(`warmup_steps (${W}) must not be more than ${kind.end} (${last})`);
    if (last === W) begin += 1;
    if (last !== null) settings = {...settings, [kind.end]: Math.max(last - W, 1)};
  }
  const rising = way ? way.rising : (t) => t / W;
  const rest = bound(kind.formula, settings);
  const low = settings.warmup_steps ? rest(0, 1) : 0;
  let high = settings.warmup_steps ? rest(W, 1) : 1;
  if (settings.warmup_steps && kind.end && W === settings[kind.end]) {
    high = W > 1 ? low + ((rest(W - 1, 1) - low) * W) / (W - 1) : 1; // at W it has ended already
  }
  const start = section.warmup_from === undefined ? low : levelOf(section.warmup_from, lr).value;
  return (step, base) => {
    const t = way && way.early ? step + way.early : step;
    return t >= W ? rest(t + begin, base) : base * (start + (high - start) * rising(t, W));
  };
}

function arePhases(section) {
  return Array.isArray(section) || ["for", "until", "from", "to"].some((key) => key in section);
}

// The pieces of phases: each from its first update (begin) over `steps` (null if open), with its value after s steps.
// `lr` is the optimizer's rate, of which levels become shares; null for the phases of another hyperparameter.
function piecesOf(kinds, items, clock, lr) {
  const pieces = [];
  let ended = START;
  let base = 1;
  let level = null;
  const add = (begin, end, value, isLast, to) => {
    const steps = end === null ? null : end - begin;
    if (steps === 0) {
      const held = to ?? value(0);
      if (isLast) pieces.push({begin, steps, value: () => held});
      level = held;
      return;
    }
    pieces.push({begin, steps, value});
    level = steps === null ? null : value(steps);
  };
  items.forEach((item, place) => {
    const kind = kinds[place];
    const begin = ended;
    const line = item.warmup_steps != null && kind.warmed ? clock.after(begin, quantity(item.warmup_steps)) : null;
    const [from, to] = [item.from, item.to].map((one) => (one === undefined ? null : levelOf(one, lr)));
    if (lr === null && place === 0) base = from.value;
    const key = ["for", "until", kind.end].find((one) => one && item[one] != null);
    if (key) ended = key === "until" ? clock.at(quantity(item[key])) : clock.after(begin, quantity(item[key]));
    else ended = kind.end ? clock.end() : null;
    const first = line ?? begin;
    const end = ended === null ? null : ended.update;
    if (end !== null && end < first.update) {
      throw new Error(`phase ${place + 1} would end at update ${end}, before it begins at update ${first.update}`);
    }
    const isPart = key && key !== kind.end && kind.end && item[kind.end] != null;
    const whole = isPart ? clock.after(begin, quantity(item[kind.end])) : ended;
    const settings = settingsOf(kind, without(item, [kind.end], []), PHASE_KEYS, clock, first, whole);
    Object.assign(settings, kind.levels);
    if (kind.end && whole !== null) settings[kind.end] = Math.max(whole.update - first.update, 1);
    const valueOf = (one) => (one.share ? one.value * base : one.value);
    if (line) {
      const low = place === 0 ? 0 : level;
      const high = from ? valueOf(from) : base;
      const steps = line.update - begin.update;
      add(begin.update, line.update, (s) => (s === 0 ? low : low * (1 - s / steps) + high * (s / steps)), false, high);
    }
    const start = from ? valueOf(from) : level;
    const goal = to && valueOf(to);
    add(first.update, end, phaseOf(kind, settings, start, goal, base), place === items.length - 1, goal);
  });
  return pieces;
}

// The value of a phase after s steps; `start` is null for a first phase that begins as its schedule does. The phase may
// be the beginning of a longer curve, and `to` is where the curve leads.
function phaseOf(kind, settings, start, to, base) {
  const g = bound(kind.formula, settings);
  const first = g(0, 1);
  if (to !== null) {
    const n = settings[kind.end];
    const last = g(n, 1);
    if (first === last) throw new Error("a phase begins and ends at one level, and cannot go to another");
    const low = start ?? first * base;
    return (s) => {
      if (s === 0 || s === n) return s === 0 ? low : to;
      const weight = (g(s, 1) - last) / (first - last);
      return Math.min(Math.max(low * weight + to * (1 - weight), Math.min(low, to)), Math.max(low, to));
    };
  }
  if (start !== null && first === 0) throw new Error("a phase begins at 0, and cannot go on from another level");
  const scale = start === null ? base : start / first;
  return (s) => (s === 0 ? start ?? first * base : scale * g(s, 1));
}

// Phases as a function of the update. After its end, a closed last phase holds its last value.
function joined(pieces) {
  const last = pieces.at(-1);
  const end = last.steps === null ? Infinity : last.begin + last.steps;
  const final = last.steps === null ? null : last.value(last.steps);
  return (t) => {
    if (t >= end) return final;
    const piece = pieces.findLast((one) => one.begin <= t);
    return piece.value(t - piece.begin);
  };
}

// Specs. `spec.data` is what is written, with all that is inherited; `spec.kinds` has the kinds of the schedules at each
// path, joined by dots; `spec.clock` the batch and the epoch.

function itemsAt(spec, data, path) {
  const section = valueAt(data, path);
  const items = Array.isArray(section) ? section : [section];
  return {section, items, kinds: spec.kinds[path.join(".")]};
}

// The length of the run: the section `horizon`, or where the section `scheduler` ends.
function horizonOf(spec, data) {
  if (data.horizon != null) return quantity(data.horizon);
  if (!data.scheduler) return null;
  const {items, kinds} = itemsAt(spec, data, ["scheduler"]);
  const clock = new Clock(spec.clock.batch, spec.clock.epoch, null);
  let point = START;
  for (const [place, item] of items.entries()) {
    const key = ["for", "until", kinds[place].end].find((one) => one && item[one] != null);
    const length = key ? quantity(item[key]) : null;
    if (!length || length.unit === "%") return null;
    if (items.length === 1) return length;
    point = key === "until" ? clock.at(length) : clock.after(point, length);
  }
  return point.exact ?? {amount: point.update, unit: "steps"};
}

function clockOf(spec, data) {
  return new Clock(spec.clock.batch, spec.clock.epoch, horizonOf(spec, data));
}

// A curve as a function of the update, with the updates at which it bends (joints) and where it ends (null if it does
// not). Throws where the spec would be refused.
function curveOf(spec, curve, data) {
  const clock = clockOf(spec, data);
  const number = (path, otherwise) => valueAt(data, path) ?? otherwise;
  const scale = [curve.scale, curve.decay].reduce((all, path) => (path ? all * number(path, 1) : all), 1);
  const base = curve.base ? scale * number(curve.base, curve.basis) : scale;
  const freeze = curve.freeze ? valueAt(data, curve.freeze) ?? false : false;
  const thaw = freeze === true ? Infinity : freeze === false ? 0 : clock.updates(freeze);
  const frozen = (value) => (t) => (t < thaw ? 0 : value(t));
  const thaws = thaw > 0 && thaw < Infinity ? [thaw] : [];
  if (curve.follows === null) return {value: frozen(() => base), joints: thaws, end: null};
  const {section, items, kinds} = itemsAt(spec, data, curve.follows);
  const relative = curve.follows[0] === "scheduler";
  const own = number(["optimizer", "lr"], spec.lr);
  const lr = typeof own === "number" && own > 0 ? own : 1;
  if (relative && !arePhases(section)) {
    const value = scheduled(kinds[0], section, clock, lr);
    const settings = alone(kinds[0], section, clock);
    const end = settings[kinds[0].end] ?? clock.end()?.update ?? null;
    const named = kinds[0].counts.flatMap((key) => (kinds[0].tail.includes(key) ? end - settings[key] : settings[key] ?? []));
    const joints = [...new Set([...named, clock.updates(section.warmup_steps ?? 0)])].filter((t) => Number.isInteger(t) && t > 0);
    return {value: frozen((t) => value(t, base)), joints: [...joints, ...thaws], end};
  }
  const pieces = piecesOf(kinds, items, clock, relative ? lr : null);
  const value = joined(pieces);
  const factor = relative ? base : scale;
  const last = pieces.at(-1);
  const end = last.steps === null ? null : last.begin + last.steps;
  const joints = [...pieces.slice(1).map((piece) => piece.begin), ...(end === null ? [] : [end])];
  return {value: frozen((t) => factor * value(t)), joints: [...joints, ...thaws], end};
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

// A text in double quotes; what YAML would not take, or would fold, is escaped.
function quoted(text) {
  const escaped = (sign) => {
    if (sign === '"' || sign === "\\") return `\\${sign}`;
    const code = sign.charCodeAt(0);
    return code < 0x20 || (code > 0x7e && code < 0xa1) || "\u2028\u2029\ufeff\ufffe\uffff".includes(sign)
      ? `\\u${code.toString(16).padStart(4, "0")}`
      : sign;
  };
  return `"${[...text].map(escaped).join("")}"`;
}

function scalarText(value) {
  if (value === null) return "null";
  if (typeof value === "boolean") return String(value);
  if (typeof value === "number") return numberText(value);
  if (/^\0(-?\.inf|\.nan)$/.test(value)) return value.slice(1);
  return PLAIN_TEXT.test(value) && !NO_TEXT.test(value) ? value : quoted(value);
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

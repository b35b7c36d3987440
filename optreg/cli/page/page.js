// Page: charts that can be read off, sliders, and the YAML to copy back. What is drawn comes from the model.

const DATA = JSON.parse(document.getElementById("data").textContent);
const DASHES = ["", "9 4", "3 3", "12 3 3 3", "1 4", "6 2"];
const EXACT = 1e-9; // how far a formula may be from optreg's own values, as a part of the peak
const POSITIONS = 1000;
const LEVELS = ["from", "to", "warmup_from"];

// How a curve of this number in its chart is drawn: never by colour alone.
const strokeOf = ({number}) => `stroke="var(--c${number % 6})" stroke-dasharray="${DASHES[(number + Math.floor(number / 6)) % DASHES.length]}"`;

const byId = (id) => document.getElementById(id);
const escaped = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const grouped = (count) => count.toLocaleString("en-US", {maximumFractionDigits: 2});

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A number with six digits.
function told(value) {
  if (!Number.isFinite(value)) return "none";
  const short = Number(value.toPrecision(6));
  return short !== 0 && (Math.abs(short) < 1e-3 || Math.abs(short) >= 1e6) ? short.toExponential().replace("e+", "e") : String(short);
}

function large(count) {
  const found = [[1e12, "T"], [1e9, "B"], [1e6, "M"]].find(([size]) => count >= size);
  return found ? `${Number((count / found[0]).toPrecision(4))}${found[1]}` : grouped(count);
}

// What is drawn

let curves = [];

function prepare(spec) {
  for (const kinds of Object.values(spec.kinds)) {
    for (const kind of kinds) {
      try {
        kind.formula = formulaOf(kind.formula);
      } catch (error) {
        Object.assign(kind, {formula: null, reason: error.message});
      }
    }
  }
  spec.reason = null;
  for (const curve of spec.curves) spec.reason ??= whyNot(spec, curve);
  spec.changes = new Map();
  spec.state = spec.data;
  spec.fault = null;
  spec.curves.forEach((curve) => {
    curve.spec = spec;
    curve.first = functionOf(curve, spec.data);
    curve.now = curve.first;
    curve.number = curves.filter((other) => other.of === curve.of).length;
    curves.push(curve);
  });
}

// Why a curve cannot be computed here; null if it can, and gives optreg's own values.
function whyNot(spec, curve) {
  const kinds = curve.follows ? spec.kinds[curve.follows.join(".")] : [];
  const lacking = kinds.find((kind) => !kind.formula);
  if (lacking) return `the formula of ${lacking.name} cannot be computed here (${lacking.reason})`;
  try {
    const {value} = curveOf(spec, curve, spec.data);
    const peak = Math.max(...curve.values.map(Math.abs));
    const far = curve.steps.findIndex((t, place) => !(Math.abs(value(t) - curve.values[place]) <= EXACT * peak));
    return far < 0 ? null : `the formula of ${kinds.map((kind) => kind.name).join(", ")} gives another value at update ${grouped(curve.steps[far])}`;
  } catch (error) {
    return `it cannot be computed here (${error.message})`;
  }
}

// A curve as it is to be drawn: its value at an update, the updates that must be drawn, and the last with a value.
function functionOf(curve, data) {
  if (curve.spec.reason) return sampled(curve);
  const {value, joints, end} = curveOf(curve.spec, curve, data);
  const beyond = curve.steps.at(-1) - curve.ends;
  return {value, joints, end, last: curve.stops && end !== null ? end + beyond : Infinity, at: (t) => t};
}

function sampled(curve) {
  const {steps, values} = curve;
  const placeOf = (t) => {
    let [low, high] = [0, steps.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] <= t) low = middle;
      else high = middle;
    }
    return t - steps[low] <= steps[high] - t ? low : high;
  };
  return {
    value: (t) => values[placeOf(t)], joints: steps, end: curve.ends, at: (t) => steps[placeOf(t)],
    last: curve.stops ? steps.at(-1) : Infinity,
  };
}

// How far the axis reaches; it grows with a run, and does not shrink.
function lastUpdate() {
  if (DATA.last) return DATA.last;
  const ends = curves.map((curve) => curve.now.end ?? 0);
  return Math.max(1, ...curves.map((curve) => curve.steps.at(-1)), ...ends.map((end) => Math.ceil(end * 1.05)));
}

// Charts

let at = 0;
let axis = DATA.axis;
const charts = [];

// The units in which the axis can count: those that all specs know, and know alike.
function axes() {
  const [first, ...others] = DATA.specs;
  const alike = others.every((spec) => JSON.stringify(spec.clock) === JSON.stringify(first.clock));
  const units = alike ? ["tokens", "samples", "epochs"] : [];
  return ["steps", ...units.filter((unit) => clockOf(first, first.data).consumed(1, unit) !== null)];
}

// Where update t lies on the axis.
function across(t) {
  return axis === "steps" ? t : clockOf(DATA.specs[0], DATA.specs[0].state).consumed(t, axis);
}

// The update at a place of the axis, which reaches to update `last`.
function updateOf(place, last) {
  if (axis === "steps") return Math.round(place);
  const clock = clockOf(DATA.specs[0], DATA.specs[0].state);
  let [low, high] = [0, last];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (clock.consumed(middle, axis) <= place) low = middle;
    else high = middle - 1;
  }
  return low;
}

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((one) => one * size >= rough * 0.999) * size;
  return Array.from({length: Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) + 1}, (_, index) =>
    Number(((Math.ceil(low / step - 1e-9) + index) * step).toPrecision(12)));
}

function pointsOf(curve, last, width) {
  const wanted = new Set(curve.joints.filter((t) => t <= last).flatMap((t) => [Math.max(0, t - 1), t]));
  const count = Math.min(last, Math.max(200, Math.round(width)));
  const end = across(last);
  for (let index = 0; index <= count; index++) wanted.add(updateOf((index / count) * end, last));
  const steps = [...wanted].filter((t) => t <= curve.last).sort((a, b) => a - b);
  return steps.map((t) => [curve.at(t), curve.value(t)]).filter(([, value]) => Number.isFinite(value));
}

function makeChart(of) {
  const box = element("div", {class: "chart", tabindex: "0", role: "slider", "aria-label": `Update at which the ${of} is read off`});
  const chart = {of, box, curves: curves.filter((curve) => curve.of === of), scale: null};
  box.addEventListener("pointermove", (event) => moveTo(updateAt(chart, event)));
  box.addEventListener("pointerdown", (event) => moveTo(updateAt(chart, event)));
  box.addEventListener("keydown", (event) => {
    const last = lastUpdate();
    const step = event.shiftKey ? 1 : Math.max(1, Math.round(last / 200));
    const moves = {ArrowRight: step, ArrowUp: step, ArrowLeft: -step, ArrowDown: -step, PageUp: 10 * step, PageDown: -10 * step, Home: -Infinity, End: Infinity};
    if (!(event.key in moves)) return;
    event.preventDefault();
    moveTo(at + moves[event.key]);
  });
  byId("charts").append(element("h2", {}, of === "learning rate" ? "Learning rate" : of), box);
  charts.push(chart);
}

function updateAt(chart, event) {
  const {left, right, width, last} = chart.scale;
  const x = event.clientX - chart.box.getBoundingClientRect().left;
  const part = Math.min(1, Math.max(0, (x - left) / (width - left - right)));
  return updateOf(part * across(last), last);
}

function drawChart(chart) {
  const width = Math.max(280, chart.box.clientWidth);
  const height = Math.round(Math.min(380, Math.max(230, width * 0.45)));
  const [left, right, top, bottom] = [64, 14, 10, 44];
  const last = lastUpdate();
  const drawn = chart.curves.map((curve) => ({curve, now: pointsOf(curve.now, last, width), before: curve.now === curve.first ? [] : pointsOf(curve.first, last, width)}));
  const values = drawn.flatMap(({now, before}) => [...now, ...before]).map(([, value]) => value);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const isNarrow = least < most && least > 0.7 * most; // such as betas; other curves show how far from 0 they are
  const low = isNarrow ? least - (most - least) * 0.04 : Math.min(0, least);
  const high = most > low ? most : low + 1;
  const room = high + (high - low) * 0.04;
  const end = across(last);
  const xOf = (place) => left + (place / end) * (width - left - right);
  const x = (t) => xOf(across(t));
  const y = (value) => height - bottom - ((value - low) / (room - low)) * (height - top - bottom);
  chart.scale = {left, right, top, bottom, width, height, last, x, y};
  const line = (points) => points.map(([t, value]) => `${x(t).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const parts = [];
  for (const tick of ticks(low, room, 6)) {
    parts.push(`<line class="grid" x1="${left}" x2="${width - right}" y1="${y(tick)}" y2="${y(tick)}"/>`);
    parts.push(`<text x="${left - 8}" y="${y(tick) + 4}" text-anchor="end">${told(tick)}</text>`);
  }
  for (const tick of ticks(0, end, width < 500 ? 3 : 6)) {
    const anchor = xOf(tick) > width - right - 24 ? "end" : xOf(tick) < left + 12 ? "start" : "middle";
    parts.push(`<text x="${xOf(tick)}" y="${height - bottom + 18}" text-anchor="${anchor}">${large(tick)}</text>`);
  }
  parts.push(`<text x="${(left + width - right) / 2}" y="${height - 6}" text-anchor="middle">${axis === "steps" ? "update" : axis}</text>`);
  for (const joint of new Set(chart.curves.flatMap((curve) => (curve.spec.reason ? [] : curve.now.joints)))) {
    if (joint > 0 && joint <= last) parts.push(`<line class="joint" x1="${x(joint)}" x2="${x(joint)}" y1="${top}" y2="${height - bottom}"/>`);
  }
  for (const {curve, now, before} of drawn) {
    const colour = strokeOf(curve);
    if (before.length) parts.push(`<polyline class="before" ${colour} points="${line(before)}"/>`);
    parts.push(`<polyline class="curve" ${colour} points="${line(now)}"/>`);
  }
  chart.box.innerHTML = `<svg viewBox="0 0 ${width} ${height}" aria-hidden="true">${parts.join("")}<g class="marks"></g></svg>`;
}

// Reading off

function moveTo(update) {
  at = Math.max(0, Math.min(lastUpdate(), Math.round(update)));
  readOff();
}

function labelOf(curve) {
  const parts = [];
  if (DATA.specs.length > 1) parts.push(curve.spec.name);
  if (curve.spec.curves.filter((other) => other.of === curve.of).length > 1) parts.push(curve.group === "default" ? "all other parameters" : curve.group);
  return parts.join(", ") || curve.of;
}

function reading(curve) {
  if (at > curve.now.last) return "none";
  const near = curve.now.at(at);
  return told(curve.now.value(at)) + (near === at ? "" : ` (at ${grouped(near)})`);
}

function readOff() {
  for (const chart of charts) {
    const {x, y, top, bottom, height, last} = chart.scale;
    const marks = [`<line class="cursor" x1="${x(at)}" x2="${x(at)}" y1="${top}" y2="${height - bottom}"/>`];
    for (const curve of chart.curves) {
      const value = at > curve.now.last ? NaN : curve.now.value(at);
      if (Number.isFinite(value)) marks.push(`<circle class="dot" r="5" cx="${x(at)}" cy="${y(value)}" fill="var(--c${curve.number % 6})"/>`);
    }
    chart.box.querySelector(".marks").innerHTML = marks.join("");
    const spoken = chart.curves.map((curve) => `${labelOf(curve)} ${reading(curve)}`).join("; ");
    for (const [key, value] of [["min", 0], ["max", last], ["now", at], ["text", `update ${grouped(at)}: ${spoken}`]]) {
      chart.box.setAttribute(`aria-value${key}`, value);
    }
  }
  if (document.activeElement !== byId("update")) byId("update").value = at;
  byId("update").max = lastUpdate();
  const places = DATA.specs.map((spec) => {
    const clock = clockOf(spec, spec.state);
    const known = ["tokens", "samples", "epochs"].filter((unit) => clock.consumed(1, unit) !== null);
    const amounts = known.map((unit) => [unit, clock.consumed(at, unit)]).filter(([, amount]) => amount !== null);
    const text = amounts.map(([unit, amount]) => `${large(amount)} ${unit}`).join(", ");
    return text && (DATA.specs.length > 1 ? `${spec.name}: ${text}` : text);
  });
  byId("place").textContent = places.some(Boolean) ? `after ${places.filter(Boolean).join("; ")}` : "";
  for (const curve of curves) curve.cell.textContent = reading(curve);
}

function makeReadout(chart) {
  const body = element("tbody");
  for (const curve of chart.curves) {
    const head = element("th", {scope: "row"});
    head.innerHTML = `<svg class="swatch" viewBox="0 0 32 12" aria-hidden="true"><line x1="0" x2="32" y1="6" y2="6" stroke-width="3" ${strokeOf(curve)}/></svg>${escaped(labelOf(curve))}`;
    curve.cell = element("td");
    body.append(element("tr", {}, head, curve.cell));
  }
  chart.box.after(element("table", {"aria-label": `${chart.of} at this update`}, body));
}

// Sliders

// A number of a spec in its own form: a number, a share (10%), or a quantity (10T tokens).
function formOf(control) {
  const {value} = control;
  if (typeof value === "number") return {n: value, write: (n) => n, share: false};
  const share = /^\s*([0-9._e-]+)\s*%\s*$/.exec(value);
  if (share) return {n: Number(share[1].replaceAll("_", "")), write: (n) => `${numberText(n)}%`, share: true};
  const word = value.trim().split(/\s+/).at(-1);
  return {n: quantity(value).amount, write: (n) => `${amountText(n)} ${word}`, share: false};
}

function amountText(n) {
  const found = [[1e12, "T"], [1e9, "B"], [1e6, "M"]].find(([size]) => n >= size);
  return found ? `${Number((n / found[0]).toPrecision(12))}${found[1]}` : numberText(n);
}

// How a slider's position, from 0 to POSITIONS, becomes a number, and back.
function scaleOf(control, form, ends, peak) {
  const {low, high, whole} = control;
  const linear = (from, to) => ({value: (part) => from + part * (to - from), part: (n) => (n - from) / (to - from || 1)});
  const round = (n) => Number(n.toPrecision(3));
  const even = (n, range, least) => { // as many digits as the positions of the slider tell apart
    const step = Math.max(least, 10 ** Math.floor(Math.log10(range / POSITIONS)));
    return Number((Math.round(n / step) * step).toPrecision(12));
  };
  if (typeof control.value !== "number") {
    const most = form.share ? Math.max(100, 2 * form.n) : 2 * form.n || 1;
    return {...linear(0, most), round: (n) => even(n, most, 0)};
  }
  if (whole) {
    const least = (low ?? 0) + (control.above ? 1 : 0);
    const most = Math.max(2 * form.n, ends, least + 1);
    return {...linear(least, most), round: (n) => Math.max(least, even(n, most - least, 1))};
  }
  const inner = (n) => {
    const least = low === null ? -Infinity : control.above ? low + Number.MIN_VALUE : low;
    const most = high === null ? Infinity : control.below ? high - 1e-9 : high;
    return Math.min(most, Math.max(least, n));
  };
  if (high === 1 && form.n > 0.9 && form.n < 1) { // near one, what is left of it counts
    const far = Math.log(Math.min(1, 30 * (1 - form.n)));
    const near = Math.log((1 - form.n) / 30);
    const logs = linear(far, near);
    return {value: (part) => 1 - Math.exp(logs.value(part)), part: (n) => logs.part(Math.log(1 - n)), round: (n) => inner(1 - round(1 - n))};
  }
  if (low !== null && high !== null) return {...linear(low, high), round: (n) => inner(round(n))};
  if (form.n > 0) {
    const logs = linear(Math.log(form.n / 30), Math.log(form.n * 30));
    return {value: (part) => Math.exp(logs.value(part)), part: (n) => logs.part(Math.log(n)), round: (n) => inner(round(n))};
  }
  return {...linear(low ?? 0, (low ?? 0) + peak), round: (n) => inner(round(n))};
}

// The peak of the curve whose level a number is; 1 for a number that is no level.
function peakOf(spec, control) {
  const isOf = (curve) => curve.follows && curve.follows.every((key, place) => key === control.path[place]);
  const values = LEVELS.includes(control.path.at(-1)) ? spec.curves.filter(isOf).flatMap((curve) => curve.values) : [];
  return Math.max(...values, 0) || 1;
}

// The value that a text stands for; undefined if it stands for none.
function entered(control, text) {
  const plain = text.trim();
  const number = plain === "" ? NaN : Number(plain.replaceAll("_", ""));
  if (Number.isFinite(number)) return control.whole && !Number.isInteger(number) ? undefined : number;
  if (/^[0-9._e-]+\s*%$/.test(plain) || (control.whole && quantity(plain))) return plain;
  return undefined;
}

function makeSlider(spec, control, number) {
  const form = formOf(control);
  const scale = scaleOf(control, form, Math.max(...spec.curves.map((curve) => curve.ends)), peakOf(spec, control));
  const name = control.path.join(".");
  const id = `${spec.name}.${name}`;
  const [range, entry] = [element("input", {type: "range", min: 0, max: POSITIONS, step: 1}), element("input", {type: "text", id, inputmode: control.whole || typeof control.value === "number" ? "decimal" : "text", autocomplete: "off", spellcheck: "false"})];
  range.setAttribute("aria-label", `${name}, slider`);
  const box = element("div", {class: "slider"}, element("label", {for: id}, name, element("span", {class: "dim"}, control.of ? ` ${control.of}` : "")), element("div", {class: "row"}, range, entry));
  const partOf = (value) => scale.part(typeof value === "number" ? value : formOf({value}).n);
  const place = (value) => {
    range.value = Math.round(POSITIONS * Math.min(1, Math.max(0, partOf(value) || 0)));
  };
  const type = (value) => {
    entry.value = scalarText(value);
    entry.removeAttribute("aria-invalid");
  };
  const change = (value) => {
    range.setAttribute("aria-valuetext", scalarText(value));
    box.classList.toggle("changed", value !== control.value);
    if (value === control.value) spec.changes.delete(number);
    else spec.changes.set(number, {path: control.path, value});
  };
  const show = (value) => {
    place(value);
    type(value);
    change(value);
  };
  range.addEventListener("input", () => {
    const value = form.write(scale.round(scale.value(range.value / POSITIONS)));
    type(value);
    change(value);
    update(spec);
  });
  entry.addEventListener("input", () => {
    const value = entered(control, entry.value);
    entry.setAttribute("aria-invalid", value === undefined);
    if (value === undefined) return;
    place(value);
    change(value);
    update(spec);
  });
  entry.addEventListener("change", () => type(spec.changes.has(number) ? spec.changes.get(number).value : control.value));
  range.disabled = entry.disabled = spec.reason !== null;
  spec.shows.push(() => show(control.value));
  show(control.value);
  return box;
}

function makeSpec(spec) {
  spec.shows = [];
  const several = DATA.specs.length > 1;
  const section = element("section", {}, element("h2", {}, several ? `${spec.name}: ${spec.title}` : "Change the numbers"));
  if (spec.reason) {
    const note = `The sliders are off: ${spec.reason}. The curves are drawn from values that optreg has computed at ${grouped(spec.curves[0].steps.length)} updates.`;
    section.append(element("p", {class: "dim note"}, note));
  }
  const sliders = element("div", {class: "sliders"});
  spec.controls.forEach((control, number) => sliders.append(makeSlider(spec, control, number)));
  if (!spec.controls.length) section.append(element("p", {class: "dim note"}, "It has no number that changes a curve."));
  spec.wrong = element("p", {class: "fault", role: "alert"});
  spec.yaml = element("pre", {tabindex: "0", "aria-label": `${spec.name} as YAML`});
  spec.sets = element("pre", {tabindex: "0", "aria-label": "The same as overrides"});
  const copy = element("button", {type: "button"}, "Copy YAML");
  copy.addEventListener("click", () => copied(spec.yaml, "YAML"));
  const copySets = element("button", {type: "button"}, "Copy overrides");
  copySets.addEventListener("click", () => copied(spec.sets, "overrides"));
  const reset = element("button", {type: "button"}, "Reset");
  reset.addEventListener("click", () => {
    spec.changes.clear();
    for (const show of spec.shows) show();
    update(spec);
  });
  spec.buttons = [copySets, reset];
  section.append(sliders, spec.wrong, element("h3", {}, "The spec with these numbers"), spec.yaml, spec.sets, element("div", {class: "buttons"}, copy, copySets, reset));
  byId("specs").append(section);
}

async function copied(from, what) {
  let done = true;
  try {
    await navigator.clipboard.writeText(from.textContent);
  } catch {
    getSelection().selectAllChildren(from);
    done = document.execCommand("copy");
  }
  byId("told").textContent = done ? `Copied the ${what}.` : `Select the ${what} and copy it by hand.`;
  byId("told").classList.remove("hidden");
}

// Everything that depends on the numbers of a spec.
function update(spec) {
  let [state, own] = [spec.data, spec.own];
  for (const {path, value} of spec.changes.values()) {
    own = withValue(own, path, value, state);
    state = withValue(state, path, value, state);
  }
  spec.fault = null;
  try {
    const now = spec.curves.map((curve) => (spec.changes.size ? functionOf(curve, state) : curve.first));
    now.forEach((one) => one.value(0));
    now.forEach((one, place) => (spec.curves[place].now = one));
    spec.state = state;
  } catch (error) {
    spec.fault = error.message;
  }
  spec.wrong.textContent = spec.fault ? `With these numbers the spec is wrong: ${spec.fault}.` : "";
  const changes = [...spec.changes.values()];
  const marked = new Set(changes.map(({path}) => path.join(".")));
  spec.yaml.innerHTML = yamlLines(own, marked).map(({text, marked: is}) => (is ? `<mark>${escaped(text)}</mark>` : escaped(text))).join("\n") + "\n";
  const sets = changes.map(({path, value}) => `${path.join(".")}=${scalarText(value)}`);
  spec.sets.textContent = sets.map((one) => `--set ${/^[\w.=%+-]+$/.test(one) ? one : `'${one}'`}`).join(" ");
  spec.sets.hidden = !changes.length;
  for (const button of spec.buttons) button.disabled = !changes.length;
  redraw();
}

let waiting = false;

function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    charts.forEach(drawChart);
    moveTo(at);
  });
}

function start() {
  DATA.specs.forEach(prepare);
  byId("by").textContent = `${DATA.specs.length === 1 ? `${DATA.specs[0].title}. ` : ""}Move over a chart, touch it, or use the arrow keys to read values off.`;
  for (const of of new Set(curves.map((curve) => curve.of))) makeChart(of);
  charts.forEach(makeReadout);
  DATA.specs.forEach(makeSpec);
  charts.forEach(drawChart);
  DATA.specs.forEach(update);
  for (const unit of axes()) byId("axis").append(element("option", {}, unit));
  byId("axis").value = axis;
  byId("counted").hidden = axes().length === 1;
  byId("axis").addEventListener("change", () => {
    axis = byId("axis").value;
    redraw();
  });
  byId("update").addEventListener("input", (event) => event.target.value !== "" && moveTo(Number(event.target.value)));
  byId("update").addEventListener("change", readOff);
  const resized = new ResizeObserver(redraw);
  for (const {box} of charts) resized.observe(box);
}

start();

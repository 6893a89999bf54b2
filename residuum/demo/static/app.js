// The page of `residuum demo`: what is chosen, the requests for it, and what is shown of the replies.

import * as api from "./api.js";
import { Layers, name as stepName, order } from "./layers.js";
import { forAddress, packStrokes, readFragment, unpackStrokes, writeFragment } from "./link.js";
import { Pad } from "./pad.js";
import { element, number, percent, plural, time } from "./text.js";

const $ = (id) => document.getElementById(id);
const KEPT_RUNS = 8;
const MOST_LOGITS = 10;
const STEP_MILLISECONDS = 550;
// After so long the page says that it waits.
const PATIENCE_MILLISECONDS = 700;
const ADDRESS_MILLISECONDS = 400;
// A longer address is cut by some programs.
const LONGEST_LINK = 60_000;
// A three, for a page without a picture.
const EXAMPLE =
  "FkxEWTRsKoIomC6mPKhOoGCSbn54cHyEfpqIrJi0rLDApNCS23zeZttU0kjG";
const CORRECTIONS = {
  mask: "Neurons whose potential is negative after the probe are silenced (SRP).",
  carry: "Potentials go on; the output leaves the probe steps out.",
  offset: "Potentials are corrected by one spike (COS); no engine runs it.",
};

let offers; // reply of /api/networks
let state = {}; // what is chosen; one of test, strokes, picture is the source
let file = null; // the user's file behind state.picture
let shown = null; // reply of the last run
let step = null; // the chosen step; null: the whole run
let timer = null; // of the player
let runs = [];
let newDrawing = false;

const pad = new Pad($("pad"), () => draw());
const layers = new Layers($("layers"), (chosen) => choose(step === chosen ? null : chosen));

const offer = () => offers.networks.find((each) => each.name === state.network);
const radix = () => offer().code === "radix";

// ------------------------------------------------------------------------------------- the state

function usual() {
  const first = offers.networks[0];
  return {
    network: first.name,
    bits: offers.bits,
    tau: 4,
    T: 4,
    correction: "mask",
    board: offers.board,
  };
}

// The state of a link, where it is possible; else the usual one.
function adopt(given) {
  const wanted = { ...usual(), ...given };
  const found = offers.networks.find((each) => each.name === wanted.network);
  if (!found) {
    say(`This server has no network ${wanted.network}.`);
    wanted.network = usual().network;
  }
  state = wanted;
  file = null;
  const { bits, usual_bits: most, corrections } = offer();
  if (!bits.includes(state.bits)) state.bits = most;
  if (!corrections.includes(state.correction)) state.correction = corrections[0] ?? "mask";
  if (state.board !== "smallest" && !offers.boards.includes(state.board)) state.board = "smallest";
  state.T = Math.max(state.T, 1);
  if (["test", "strokes", "picture"].every((source) => state[source] === undefined)) {
    if (offer().draws_digits || !offer().test.count) state.strokes = EXAMPLE;
    else state.test = 0;
  }
  if (state.strokes !== undefined) {
    try {
      pad.set(unpackStrokes(state.strokes));
    } catch {
      say("The drawing in the link is damaged.");
      pad.set([]);
      state.strokes = "";
    }
  }
  showChoices();
  tab(state.test !== undefined ? "test" : state.picture !== undefined ? "picture" : "draw");
}

function source(name, value) {
  for (const other of ["test", "strokes", "picture"]) delete state[other];
  state[name] = value;
}

function requested() {
  const { network, bits, tau, T, correction } = state;
  const wanted = radix()
    ? { network, bits, tau: 0, T: 1, correction: null }
    : { network, bits, tau, T, correction: tau ? correction : null };
  for (const name of ["test", "strokes", "picture"]) {
    if (state[name] !== undefined) wanted[name] = state[name];
  }
  return wanted;
}

// ------------------------------------------------------------------------------ runs, one at a time

let running = false;
let waiting = false;

// Run what is chosen. While a run is under way, only the last choice waits.
async function refresh() {
  waiting = true;
  remember();
  if (running) return;
  running = true;
  busy();
  while (waiting) {
    waiting = false;
    await runOnce({ ...state }, requested());
  }
  running = false;
  busy();
}

async function runOnce(chosen, wanted) {
  const patience = setTimeout(() => ($("working").hidden = false), PATIENCE_MILLISECONDS);
  try {
    show(await api.run(wanted), chosen);
    problem("");
    cost(wanted, chosen);
  } catch (error) {
    if (!waiting) problem(error.message);
  } finally {
    clearTimeout(patience);
    $("working").hidden = true;
  }
}

let costing = false;
let costs = null; // the last run whose cycles are not known

// The cycle model takes longer than the run, and does not hold up the next run.
async function cost(wanted, chosen) {
  const reply = shown;
  if (reply.cycles) return;
  costs = [reply, wanted, chosen];
  if (costing) return;
  costing = true;
  busy();
  while (costs) {
    const [run, body, { board }] = costs;
    costs = null;
    try {
      run.cycles = await api.cycles(body, board);
      if (run === shown) showCost(run.cycles, "");
      showRuns();
    } catch (error) {
      if (run === shown) showCost(null, error.message);
    }
  }
  costing = false;
  busy();
}

// Browsers allow about a hundred changes of the address in half a minute.
let remembering = null;

function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(writeAddress, ADDRESS_MILLISECONDS);
  busy();
}

function writeAddress() {
  clearTimeout(remembering);
  remembering = null;
  history.replaceState(null, "", writeFragment(state));
  busy();
}

function busy() {
  document.body.classList.toggle("busy", running || costing || remembering !== null);
}

function problem(sentence) {
  $("problem").textContent = sentence;
  $("problem").hidden = !sentence;
  document.body.classList.toggle("failed", Boolean(sentence));
}

let toast = null;
function say(sentence) {
  $("said").textContent = sentence;
  $("said").hidden = false;
  clearTimeout(toast);
  toast = setTimeout(() => ($("said").hidden = true), 4000);
}

// -------------------------------------------------------------------------------- what can be chosen

function options(select, entries, value) {
  select.replaceChildren(
    ...entries.map(([key, text]) => element("option", { value: key }, [text])),
  );
  select.value = value;
}

function showChoices() {
  const { bits, code, corrections, test, draws_digits: digits, name } = offer();
  options(
    $("network"),
    offers.networks.map((each) => [each.name, each.name]),
    state.network,
  );
  options($("bits"), bits.map((each) => [each, `${each} bit`]), state.bits);
  options($("correction"), corrections.map((each) => [each, each]), state.correction);
  options(
    $("board"),
    [["smallest", "the smallest that fits"], ...offers.boards.map((each) => [each, each])],
    state.board,
  );
  for (const id of ["tau", "T"]) {
    $(id).max = Math.max(16, state[id]);
    $(id).value = state[id];
    $(`${id}-value`).textContent = state[id];
  }
  const none = state.tau === 0;
  $("correction").disabled = none;
  $("correction-note").textContent = none
    ? "Without a probe there is nothing to correct."
    : (CORRECTIONS[state.correction] ?? "");
  $("stages").hidden = code === "radix";
  $("radix-note").hidden = code !== "radix";
  $("board-field").hidden = !offers.runner.golden;
  const example = state.strokes === EXAMPLE ? "This is an example; draw over it. " : "";
  $("draw-note").textContent = example + (digits
    ? "A drawn digit is centred and scaled as in the data set."
    : `The network ${name} was not trained with drawings.`);
  $("test-chooser").hidden = !test.count;
  $("test-note").textContent = test.count
    ? `${number(test.count)} images that ${name} was not trained with.`
    : `${test.missing[0].toUpperCase()}${test.missing.slice(1)}.`;
  $("index").max = Math.max(test.count - 1, 0);
  if (state.test !== undefined) $("index").value = state.test;
}

function tab(chosen) {
  for (const each of ["draw", "picture", "test"]) {
    const selected = each === chosen;
    $(`tab-${each}`).setAttribute("aria-selected", selected);
    $(`tab-${each}`).tabIndex = selected ? 0 : -1;
    $(`panel-${each}`).hidden = !selected;
  }
}

// --------------------------------------------------------------------------------- what is shown of it

function className(label) {
  return offer().classes[label] ?? String(label);
}

function show(reply, chosen) {
  shown = reply;
  const steps = order(reply);
  if (step !== null && !steps.includes(step)) step = null;
  const seen = $("seen");
  seen.src = `data:image/png;base64,${reply.image}`;
  seen.alt = `The image that ${reply.network} reads`;
  $("seen-note").textContent = offer().shape.slice(1).reverse().join(" × ") +
    (offer().shape[0] === 3 ? " pixels, colour" : " pixels, grey");
  $("class").textContent = className(reply.class);
  $("class").className = $("class").textContent.length > 3 ? "long" : "";
  $("logits").className = offer().classes.every((each) => each.length < 3) ? "digits" : "";
  const share = reply.shares?.[reply.class];
  const right = $("right");
  right.className = "";
  if (reply.label !== null) {
    const fits = reply.label === reply.class;
    right.className = fits ? "good" : "bad";
    right.textContent = fits ? "✓ right" : `✗ it is ${className(reply.label)}`;
  } else right.textContent = "";
  if (share !== undefined) {
    const dot = reply.label === null ? "" : " · ";
    right.append(element("span", { class: "soft" }, [`${dot}${percent(share)} sure`]));
  }
  $("exact").textContent =
    reply.mismatches === null ? "" : reply.mismatches === 0
      ? `✓ every spike of ${offers.runner.name} equals the golden model`
      : `✗ ${plural(reply.mismatches, "value")} differ from the golden model: ${reply.difference}`;
  $("exact").className = reply.mismatches ? "small bad" : "small good";
  showSteps();
  layers.show(reply, step);
  showLogits();
  showCost(reply.cycles, "");
  keep(reply, chosen);
}

function showSteps() {
  const rate = shown.code === "rate";
  const group = (title, members) =>
    members.length
      ? element("div", { class: "group" }, [
          element("span", { class: "soft small" }, [title]),
          element("div", { class: "keys" }, members),
        ])
      : "";
  const key = (value, text, label) => {
    const made = element("button", { type: "button", "aria-label": label, "aria-pressed": value === step }, [text]);
    made.addEventListener("click", () => choose(value));
    made.dataset.step = value ?? "all";
    return made;
  };
  const of = (some, text) => some.map((each) => key(each, text(each), stepName(shown, each)));
  const steps = order(shown);
  $("steps").replaceChildren(
    group("whole run", [key(null, "Sum", "The whole run")]),
    ...(rate
      ? [
          group("probe", of(steps.filter((each) => each < shown.tau), (each) => `${each + 1}`)),
          group("inference", of(steps.filter((each) => each >= shown.tau), (each) => `${each - shown.tau + 1}`)),
        ]
      : [group("bits, by what they are worth", of(steps, (each) => `${2 ** each}`))]),
  );
  const entry = (kind, text) => element("li", { class: kind }, [text]);
  const masked = shown.layers.some((layer) => layer.silenced_neurons);
  $("legend").replaceChildren(
    entry("spike", rate ? "spike" : "set bit"),
    ...(masked ? [entry("silenced", "silenced after a spike"), entry("pale", "silenced")] : []),
    entry("quiet", "quiet"),
  );
}

// Show one step, or the whole run.
function choose(value) {
  if (!shown) return;
  step = value;
  for (const key of $("steps").querySelectorAll("button")) {
    key.setAttribute("aria-pressed", key.dataset.step === String(step ?? "all"));
  }
  layers.paint(step);
  showLogits();
}

function showLogits() {
  const { logits_by_step: steps, tau } = shown;
  let values = shown.logits;
  let note = "";
  if (steps && step !== null) {
    values = step < tau ? values.map(() => 0) : steps[step - tau];
    note = step < tau ? "not yet summed" : `after inference step ${step - tau + 1}`;
  }
  const ranked = [...values.keys()].sort((a, b) => shown.logits[b] - shown.logits[a] || a - b);
  const listed = ranked.slice(0, MOST_LOGITS).sort((a, b) => a - b);
  if (listed.length < values.length) note ||= `the ${MOST_LOGITS} largest of ${values.length}`;
  $("logits-note").textContent = note;
  // One scale for all steps, so that the bars grow.
  const all = steps ? steps.flat() : shown.logits;
  const [low, high] = [Math.min(0, ...all), Math.max(1, ...all)];
  const best = values.some(Boolean) ? values.indexOf(Math.max(...values)) : -1;
  $("logits").replaceChildren(
    ...listed.map((label) => {
      const bar = element("i");
      const value = values[label];
      bar.style.left = `${(100 * (Math.min(value, 0) - low)) / (high - low)}%`;
      bar.style.width = `${(100 * Math.abs(value)) / (high - low)}%`;
      return element("div", { class: label === best ? "logit best" : "logit" }, [
        element("span", { class: label === shown.label ? "name good" : "name" }, [className(label)]),
        element("span", { class: "track" }, [bar]),
        element("span", { class: "value" }, [number(value)]),
      ]);
    }),
  );
}

function totals(reply) {
  const sum = (field) => reply.layers.reduce((total, layer) => total + layer[field], 0);
  const spikes = reply.layers.reduce(
    (total, layer) => total + layer.spikes_by_step.reduce((a, b) => a + b, 0), 0);
  return { spikes, silenced: sum("silenced_neurons"), neurons: sum("neurons") };
}

function showCost(cycles, refusal) {
  const { spikes, silenced, neurons } = totals(shown);
  const rate = shown.code === "rate";
  const fact = (title, value, note) =>
    element("div", {}, [
      element("dt", {}, [title]),
      element("dd", {}, [element("b", {}, [value]), element("span", { class: "soft small" }, [note])]),
    ]);
  const [waits, why] = refusal ? ["none", "Cycles per layer says why"] : ["…", ""];
  const clock = cycles && `at ${Number((cycles.clock_hz / 1e6).toFixed(1))} MHz, ${cycles.where}`;
  $("facts").replaceChildren(
    fact(rate ? "Spikes" : "Set bits", number(spikes), `of ${number(neurons)} neurons`),
    ...(shown.correction === "mask"
      ? [fact("Silenced", number(silenced), `${percent(silenced / Math.max(neurons, 1))} of the neurons`)]
      : []),
    fact("Cycles", cycles ? number(cycles.cycles) : waits,
      cycles ? (cycles.measured ? "counted by the device" : "cycle model of the engine") : why),
    fact("Latency", cycles ? time(cycles.microseconds) : waits, cycles ? clock : why),
  );
  layers.cost(cycles);
  const largest = Math.max(...(cycles?.layers.map((each) => each.cycles) ?? [1]));
  const names = [...shown.layers.map((layer) => layer.name), shown.output];
  $("cycles-note").textContent = cycles
    ? `${number(cycles.cycles)} in all, on ${cycles.lanes} lanes: ${number(1e6 / cycles.microseconds)} images per second`
    : "";
  $("cycles").replaceChildren(
    ...(cycles
      ? cycles.layers.map((each, index) => {
          const bar = element("i");
          bar.style.width = `${(100 * each.cycles) / largest}%`;
          return element("div", { class: "logit" }, [
            element("span", { class: "name" }, [names[index]]),
            element("span", { class: "track" }, [bar]),
            element("span", { class: "value" }, [number(each.cycles)]),
          ]);
        })
      : [element("p", { class: refusal ? "bad" : "soft" }, [refusal || "The cycle model runs …"])]),
  );
}

// ------------------------------------------------------------------------------------ the last runs

function stages(reply) {
  if (reply.code === "radix") return "radix code";
  const name = reply.correction === "none" ? "no correction" : reply.correction;
  return `τ ${reply.tau}, T ${reply.T}, ${name}`;
}

function keep(reply, chosen) {
  const fragment = writeFragment(chosen);
  const run = { fragment, reply };
  run.class = className(reply.class);
  run.strokes = chosen.strokes !== undefined;
  run.setting = `${chosen.network}, ${chosen.bits} bit, ${stages(reply)}`;
  const last = runs[0];
  // A drawing that goes on replaces itself.
  if (last && last.strokes && run.strokes && last.setting === run.setting && !newDrawing) runs.shift();
  newDrawing = false;
  runs = [run, ...runs.filter((each) => each.fragment !== fragment)].slice(0, KEPT_RUNS);
  showRuns();
}

function showRuns() {
  $("runs").replaceChildren(
    ...runs.map((run, index) => {
      const { spikes, silenced } = totals(run.reply);
      const before = runs[index + 1];
      const changed = before && before.reply.image === run.reply.image && before.class !== run.class;
      const picture = element("img", { src: `data:image/png;base64,${run.reply.image}`, alt: "", width: 32, height: 32 });
      const share = run.reply.shares?.[run.reply.class];
      const counts = [plural(spikes, run.reply.code === "rate" ? "spike" : "set bit")];
      if (silenced) counts.push(`${number(silenced)} silenced`);
      const { cycles } = run.reply;
      const spent = cycles ? [`${number(cycles.cycles)} cycles`, time(cycles.microseconds)] : [];
      const button = element("button", { type: "button", "aria-current": index === 0 }, [
        picture,
        element("span", { class: changed ? "said bad" : "said" }, [
          element("b", {}, [run.class]),
          share === undefined ? "" : ` ${percent(share)}`,
        ]),
        element("span", { class: "setting" }, [run.setting]),
        element("span", { class: "soft" }, [counts.join(", ")]),
        element("span", { class: "soft" }, [spent.join(", ")]),
      ]);
      button.addEventListener("click", () => {
        adopt(readFragment(run.fragment));
        refresh();
      });
      return element("li", {}, [button]);
    }),
  );
}

// --------------------------------------------------------------------------------- what the user does

function draw() {
  source("strokes", packStrokes(pad.strokes));
  showChoices();
  refresh();
}

async function take(given) {
  if (!given) return;
  file = given;
  tab("picture");
  try {
    const { network, bits } = state;
    const reply = await api.picture(file, { network, bits, invert: $("invert").checked });
    source("picture", forAddress(reply.picture));
    refresh();
  } catch (error) {
    problem(error.message);
  }
}

function test(index) {
  const { count } = offer().test;
  if (!count) return;
  source("test", ((index % count) + count) % count);
  $("index").value = state.test;
  refresh();
}

function changed() {
  showChoices();
  // A file is prepared for the size of the network.
  if (file && state.picture !== undefined) take(file);
  else refresh();
}

function listen() {
  const tabs = ["draw", "picture", "test"];
  for (const [place, each] of tabs.entries()) {
    $(`tab-${each}`).addEventListener("click", () => {
      tab(each);
      if (each === "test" && state.test === undefined) test(Number($("index").value));
      if (each === "draw" && state.strokes === undefined && pad.strokes.length) draw();
    });
    $(`tab-${each}`).addEventListener("keydown", (event) => {
      const turn = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (turn) {
        const other = $(`tab-${tabs[(place + turn + 3) % 3]}`);
        other.focus();
        other.click();
      }
    });
  }
  $("clear").addEventListener("click", () => {
    newDrawing = true;
    pad.clear();
  });
  $("undo").addEventListener("click", () => pad.undo());
  $("pad").addEventListener("pointerdown", () => {
    // The example makes room for the user's own drawing.
    if (state.strokes === EXAMPLE) {
      newDrawing = true;
      pad.set([]);
    }
  }, { capture: true });

  $("file").addEventListener("change", () => take($("file").files[0]));
  $("invert").addEventListener("change", () => file && take(file));
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop") take(event.dataTransfer.files[0]);
    });
  }
  document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));

  $("previous").addEventListener("click", () => test((state.test ?? 0) - 1));
  $("next").addEventListener("click", () => test((state.test ?? -1) + 1));
  $("random").addEventListener("click", () => test(Math.floor(Math.random() * offer().test.count)));
  $("index").addEventListener("change", () => test(Math.floor(Number($("index").value)) || 0));

  $("network").addEventListener("change", () => {
    state.network = $("network").value;
    const { bits, usual_bits: most, corrections, test: tests } = offer();
    if (!bits.includes(state.bits)) state.bits = most;
    if (corrections.length && !corrections.includes(state.correction)) state.correction = corrections[0];
    if (state.test !== undefined && state.test >= tests.count) {
      if (tests.count) state.test = 0;
      else {
        source("strokes", packStrokes(pad.strokes));
        tab("draw");
      }
    }
    changed();
  });
  $("bits").addEventListener("change", () => {
    state.bits = Number($("bits").value);
    changed();
  });
  for (const id of ["tau", "T"]) {
    $(id).addEventListener("input", () => {
      state[id] = Number($(id).value);
      changed();
    });
  }
  for (const id of ["correction", "board"]) {
    $(id).addEventListener("change", () => {
      state[id] = $(id).value;
      changed();
    });
  }
  $("play").addEventListener("click", play);
  $("share").addEventListener("click", share);
  addEventListener("hashchange", () => {
    adopt(readFragment(location.hash));
    refresh();
  });
}

function play() {
  const stop = () => {
    clearInterval(timer);
    timer = null;
    $("play").textContent = "Play";
    $("play").setAttribute("aria-pressed", false);
  };
  if (timer) {
    stop();
    return;
  }
  $("play").textContent = "Stop";
  $("play").setAttribute("aria-pressed", true);
  let place = 0;
  const next = () => {
    const steps = shown ? order(shown) : [];
    if (place >= steps.length) {
      stop();
      choose(null);
    } else choose(steps[place]);
    place += 1;
  };
  timer = setInterval(next, STEP_MILLISECONDS);
  next();
}

async function share() {
  writeAddress();
  if (location.href.length > LONGEST_LINK) {
    say("This picture is too large for a link.");
    return;
  }
  try {
    await navigator.clipboard.writeText(location.href);
    say("The link is copied. It shows this picture and these settings again.");
  } catch {
    say("The browser does not let the page copy; the link is the address of this page.");
  }
}

// ------------------------------------------------------------------------------------------- start

try {
  offers = await api.networks();
  $("working").textContent = offers.runner.name.startsWith("sim:")
    ? "The simulated engine runs. To build it for other sizes takes about a minute."
    : `The picture runs on ${offers.runner.golden ? "the golden model" : offers.runner.name} …`;
  $("runner").textContent = offers.runner.golden ? "on the golden model" : `on ${offers.runner.name}`;
  listen();
  adopt(readFragment(location.hash));
  await refresh();
} catch (error) {
  problem(error.message);
}
document.body.dataset.ready = "";

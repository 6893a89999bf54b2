// The page of `residuum demo`: what is chosen, and the requests for it.

import * as api from "./api.js";
import { History } from "./history.js";
import { forAddress, packStrokes, readFragment, unpackStrokes, writeFragment } from "./link.js";
import { Pad } from "./pad.js";
import { Result } from "./result.js";
import { $, element, number } from "./text.js";

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
let newDrawing = false; // the next drawing is not the last one, continued

const pad = new Pad($("pad"), () => draw());
const result = new Result();
const past = new History($("runs"), (fragment) => {
  adopt(readFragment(fragment));
  refresh();
});

const offerOf = (name) => offers.networks.find((each) => each.name === name);
const offer = () => offerOf(state.network);
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
  if (!offerOf(wanted.network)) {
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
    const reply = await api.run(wanted);
    const { classes, shape } = offerOf(chosen.network);
    result.show(reply, { classes, shape, runner: offers.runner.name });
    past.keep(reply, { chosen, classes, afresh: newDrawing });
    newDrawing = false;
    problem("");
    cost(reply, wanted, chosen);
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
async function cost(reply, wanted, chosen) {
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
      if (run === result.reply) result.cost("");
      past.paint();
    } catch (error) {
      if (run === result.reply) result.cost(error.message);
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
    $(id).max = Math.max(offers.most_steps / 2, state[id]);
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
  for (const kind of ["dragover", "dragleave", "drop"]) {
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
  $("play").addEventListener("click", () => result.play());
  $("share").addEventListener("click", share);
  addEventListener("hashchange", () => {
    adopt(readFragment(location.hash));
    refresh();
  });
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

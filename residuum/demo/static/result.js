// What is shown of a run: class, logits, spikes by step, cycles.

import { Layers, name as stepName, order } from "./layers.js";
import { $, element, number, percent, plural, time, totals } from "./text.js";

const MOST_LOGITS = 10;
const STEP_MILLISECONDS = 550; // of the player

export class Result {
  constructor() {
    this.reply = null; // of /api/run; its cycles may be there later
    this.step = null; // the chosen step or bit; null: the whole run
    this.timer = null; // of the player
    this.layers = new Layers($("layers"), (step) => this.choose(this.step === step ? null : step));
  }

  // Show a reply. `classes` are the names of the classes, `shape` is that of the image, and `runner`
  // the name of the device.
  show(reply, { classes, shape, runner }) {
    Object.assign(this, { reply, classes });
    if (this.step !== null && !order(reply).includes(this.step)) this.step = null;
    this.#showImage(shape);
    this.#showClass(runner);
    this.#showSteps();
    this.layers.show(reply, this.step);
    this.#showLogits();
    this.cost("");
  }

  // Show one step, or with null the whole run.
  choose(step) {
    if (!this.reply) return;
    this.step = step;
    for (const key of $("steps").querySelectorAll("button")) {
      key.setAttribute("aria-pressed", key.dataset.step === String(step ?? "all"));
    }
    this.layers.paint(step);
    this.#showLogits();
  }

  // Go through all steps; while that is under way, stop it.
  play() {
    const stop = () => {
      clearInterval(this.timer);
      this.timer = null;
      $("play").textContent = "Play";
      $("play").setAttribute("aria-pressed", false);
    };
    if (this.timer) {
      stop();
      return;
    }
    $("play").textContent = "Stop";
    $("play").setAttribute("aria-pressed", true);
    let place = 0;
    const next = () => {
      const steps = this.reply ? order(this.reply) : [];
      if (place >= steps.length) {
        stop();
        this.choose(null);
      } else this.choose(steps[place]);
      place += 1;
    };
    this.timer = setInterval(next, STEP_MILLISECONDS);
    next();
  }

  // Show spikes and cycles; `refusal` says why there are no cycles, else they may still come.
  cost(refusal) {
    const { cycles } = this.reply;
    this.#showFacts(refusal);
    this.layers.cost(cycles);
    $("cycles-note").textContent = cycles
      ? `${number(cycles.cycles)} in all, on ${cycles.lanes} lanes: ${number(1e6 / cycles.microseconds)} images per second`
      : "";
    if (!cycles) {
      const text = refusal || "The cycle model runs …";
      $("cycles").replaceChildren(element("p", { class: refusal ? "bad" : "soft" }, [text]));
      return;
    }
    const names = [...this.reply.layers.map((layer) => layer.name), this.reply.output];
    const most = Math.max(...cycles.layers.map((layer) => layer.cycles));
    const rows = cycles.layers.map((layer, index) => row(names[index], layer.cycles, [0, most]));
    $("cycles").replaceChildren(...rows);
  }

  #className(label) {
    return this.classes[label] ?? String(label);
  }

  #showImage([channels, height, width]) {
    $("seen").src = `data:image/png;base64,${this.reply.image}`;
    $("seen").alt = `The image that ${this.reply.network} reads`;
    const kind = channels === 3 ? "colour" : "grey";
    $("seen-note").textContent = `${width} × ${height} pixels, ${kind}`;
  }

  #showClass(runner) {
    const { class: said, label, shares, mismatches, difference } = this.reply;
    $("class").textContent = this.#className(said);
    $("class").className = this.#className(said).length > 3 ? "long" : "";
    const right = $("right");
    right.className = label === null ? "" : label === said ? "good" : "bad";
    right.textContent =
      label === null ? "" : label === said ? "✓ right" : `✗ it is ${this.#className(label)}`;
    if (shares) {
      const sure = `${label === null ? "" : " · "}${percent(shares[said])} sure`;
      right.append(element("span", { class: "soft" }, [sure]));
    }
    $("exact").className = mismatches ? "small bad" : "small good";
    $("exact").textContent = mismatches
      ? `✗ ${plural(mismatches, "value")} differ from the golden model: ${difference}`
      : mismatches === 0
        ? `✓ every spike of ${runner} equals the golden model`
        : "";
  }

  #showSteps() {
    const { code, tau, layers } = this.reply;
    const steps = order(this.reply);
    const keys = (some, text) =>
      some.map((step) => this.#key(step, text(step), stepName(this.reply, step)));
    const groups = [group("whole run", [this.#key(null, "Sum", "The whole run")])];
    if (code === "rate") {
      const [probe, inference] = [steps.filter((step) => step < tau), steps.filter((step) => step >= tau)];
      if (tau) groups.push(group("probe", keys(probe, (step) => step + 1)));
      groups.push(group("inference", keys(inference, (step) => step - tau + 1)));
    } else groups.push(group("bits, by what they are worth", keys(steps, (step) => 2 ** step)));
    $("steps").replaceChildren(...groups);
    const entries = [["spike", code === "rate" ? "spike" : "set bit"]];
    if (layers.some((layer) => layer.silenced_neurons)) {
      entries.push(["silenced", "silenced after a spike"], ["pale", "silenced"]);
    }
    entries.push(["quiet", "quiet"]);
    $("legend").replaceChildren(...entries.map(([kind, text]) => element("li", { class: kind }, [text])));
  }

  #key(step, text, label) {
    const pressed = step === this.step;
    const attributes = { type: "button", "aria-label": label, "aria-pressed": pressed };
    const key = element("button", attributes, [String(text)]);
    key.dataset.step = step ?? "all";
    key.addEventListener("click", () => this.choose(step));
    return key;
  }

  #showLogits() {
    const { logits, logits_by_step: steps, tau, label: right } = this.reply;
    let values = logits;
    let note = "";
    if (steps && this.step !== null) {
      const done = this.step - tau;
      values = done < 0 ? logits.map(() => 0) : steps[done];
      note = done < 0 ? "not yet summed" : `after inference step ${done + 1}`;
    }
    const ranked = [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b);
    const listed = ranked.slice(0, MOST_LOGITS).sort((a, b) => a - b);
    if (listed.length < logits.length) note ||= `the ${MOST_LOGITS} largest of ${logits.length}`;
    $("logits-note").textContent = note;
    // One scale for all steps, so that the bars grow.
    const all = [...logits, ...(steps ?? []).flat()];
    const range = [Math.min(0, ...all), Math.max(1, ...all)];
    const best = values.some(Boolean) ? values.indexOf(Math.max(...values)) : -1;
    const rows = listed.map((label) => {
      const made = row(this.#className(label), values[label], range);
      made.classList.toggle("best", label === best);
      made.firstChild.classList.toggle("good", label === right);
      return made;
    });
    $("logits").className = this.classes.every((each) => each.length < 3) ? "digits" : "";
    $("logits").replaceChildren(...rows);
  }

  #showFacts(refusal) {
    const { code, correction, cycles } = this.reply;
    const { spikes, silenced, neurons } = totals(this.reply);
    const [none, why] = refusal ? ["none", "Cycles per layer says why"] : ["…", ""];
    const facts = [fact(code === "rate" ? "Spikes" : "Set bits", number(spikes), `of ${number(neurons)} neurons`)];
    if (correction === "mask") {
      const share = percent(silenced / Math.max(neurons, 1));
      facts.push(fact("Silenced", number(silenced), `${share} of the neurons`));
    }
    if (cycles) {
      const source = cycles.measured ? "counted by the device" : "cycle model of the engine";
      const clock = `at ${Number((cycles.clock_hz / 1e6).toFixed(1))} MHz, ${cycles.where}`;
      facts.push(fact("Cycles", number(cycles.cycles), source));
      facts.push(fact("Latency", time(cycles.microseconds), clock));
    } else facts.push(fact("Cycles", none, why), fact("Latency", none, why));
    $("facts").replaceChildren(...facts);
  }
}

function group(title, keys) {
  return element("div", { class: "group" }, [
    element("span", { class: "soft small" }, [title]),
    element("div", { class: "keys" }, keys),
  ]);
}

function fact(title, value, note) {
  return element("div", {}, [
    element("dt", {}, [title]),
    element("dd", {}, [element("b", {}, [value]), element("span", { class: "soft small" }, [note])]),
  ]);
}

// A name, a bar from 0 in the range [low, high], and a number.
function row(name, value, [low, high]) {
  const bar = element("i");
  bar.style.left = `${(100 * (Math.min(value, 0) - low)) / (high - low)}%`;
  bar.style.width = `${(100 * Math.abs(value)) / (high - low)}%`;
  return element("div", { class: "bar" }, [
    element("span", { class: "name" }, [name]),
    element("span", { class: "track" }, [bar]),
    element("span", { class: "value" }, [number(value)]),
  ]);
}

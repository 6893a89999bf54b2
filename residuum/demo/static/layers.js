// The spikes of the hidden layers: a card for each, with the maps of its channels as one picture.

import { fromBase64 } from "./link.js";
import { element, number, percent, plural } from "./text.js";

const MOST_CHANNELS = 64;
const MOST_HEIGHT = 280; // CSS pixels
const MOST_SCALE = 14;
// A silenced neuron that had not fired in the probe is paler: nothing of it is missed yet.
const PALE = 0.28;
const GAP = 1; // between two maps, in neurons

// One hidden layer of a run. `step` is null for the whole run, else the number of a step or bit.
class Layer {
  constructor(found, run, redraw) {
    Object.assign(this, found);
    this.run = run;
    this.bytes = fromBase64(found.spikes);
    this.mask = found.silenced && fromBase64(found.silenced);
    const [channels, height, width] = found.shape;
    this.size = channels * height * width;
    this.full = found.worth.reduce((sum, worth) => sum + worth, 0);
    this.canvas = element("canvas", { role: "img" });
    this.canvas.addEventListener("pointermove", (event) => this.#name(event));
    this.bars = element("div", { class: "bars", role: "img" });
    this.facts = element("p", { class: "soft small lines" });
    this.cost = element("p", { class: "soft small" });
    const shown = Math.min(channels, MOST_CHANNELS);
    const dense = height * width === 1;
    const shape = dense ? number(channels) : `${channels} × ${height} × ${width}`;
    const part = !dense && shown < channels ? `, the first ${shown} channels shown` : "";
    this.card = element("section", { class: "card layer", "aria-label": `Layer ${found.name}` }, [
      element("div", { class: "about" }, [
        element("h3", {}, [found.name]),
        element("p", { class: "soft small" }, [`${shape} neurons${part}`]),
        this.facts,
        this.cost,
        this.bars,
      ]),
      element("div", { class: "map" }, [this.canvas]),
    ]);
    this.lay = (room) => (dense ? grid(channels) : mosaic(shown, height, width, room));
    this.room = 0;
    this.#makeBars(redraw);
  }

  spike(step, neuron) {
    const bit = step * this.size + neuron;
    return (this.bytes[bit >> 3] >> (bit & 7)) & 1;
  }

  silencedAt(neuron) {
    return this.mask ? (this.mask[neuron >> 3] >> (neuron & 7)) & 1 : 0;
  }

  firedInProbe(neuron) {
    for (let step = 0; step < this.run.tau; step += 1) if (this.spike(step, neuron)) return true;
    return false;
  }

  value(neuron) {
    return this.worth.reduce((sum, worth, step) => sum + worth * this.spike(step, neuron), 0);
  }

  #makeBars(redraw) {
    const most = Math.max(...this.spikes_by_step, 1);
    for (const step of order(this.run)) {
      const count = this.spikes_by_step[step];
      const bar = element("span", { class: this.run.code === "rate" && step < this.run.tau ? "probe" : "" });
      bar.style.height = `${Math.max((100 * count) / most, 2)}%`;
      const column = element("span", { title: `${name(this.run, step)}: ${plural(count, "spike")}` }, [bar]);
      column.addEventListener("click", () => redraw(step));
      this.bars.append(column);
    }
    const counts = order(this.run).map((step) => `${name(this.run, step)} ${number(this.spikes_by_step[step])}`);
    this.bars.setAttribute("aria-label", `Spikes by ${this.run.code === "rate" ? "step" : "bit"}: ${counts.join(", ")}`);
  }

  paint(step, colors) {
    const room = this.canvas.parentElement.clientWidth || 300;
    if (room !== this.room) [this.places, this.room] = [this.lay(room), room];
    const { width, height, neurons } = this.places;
    const { canvas } = this;
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    const picture = context.createImageData(width, height);
    const late = step === null || step >= this.run.tau;
    for (let place = 0; place < neurons.length; place += 1) {
      const neuron = neurons[place];
      if (neuron < 0) continue;
      let color = colors.quiet;
      if (late && this.silencedAt(neuron)) {
        color = this.firedInProbe(neuron) ? colors.silenced : colors.pale;
      } else if (step !== null) color = this.spike(step, neuron) ? colors.spike : colors.quiet;
      else {
        const share = this.value(neuron) / this.full;
        color = share ? mix(colors.quiet, colors.spike, 0.25 + 0.75 * share) : colors.quiet;
      }
      picture.data.set([...color, 255], 4 * place);
    }
    context.putImageData(picture, 0, 0);
    this.#scale();
    this.#say(step);
    [...this.bars.children].forEach((bar, place) => {
      bar.classList.toggle("chosen", order(this.run)[place] === step);
    });
  }

  #scale() {
    const { width, height } = this.places;
    const scale = scaleOf(width, height, this.room);
    this.canvas.style.width = `${Math.floor(width * scale)}px`;
    this.canvas.style.height = `${Math.floor(height * scale)}px`;
  }

  #say(step) {
    const rate = this.run.code === "rate";
    const total = this.spikes_by_step.reduce((sum, count) => sum + count, 0);
    const count = step === null ? total : this.spikes_by_step[step];
    const of = this.size * (step === null ? this.worth.length : 1);
    const lines = [`${plural(count, rate ? "spike" : "set bit")} (${percent(count / of)})`];
    if (this.silenced_neurons) {
      const share = percent(this.silenced_neurons / this.neurons);
      lines.push(`${number(this.silenced_neurons)} silenced (${share})`);
    }
    this.facts.textContent = lines.join("\n");
    const when = step === null ? "whole run" : name(this.run, step);
    this.canvas.setAttribute("aria-label", `Spikes of layer ${this.name}, ${when}: ${lines.join(", ")}`);
  }

  // The neuron under the mouse, in words.
  #name(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * this.places.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * this.places.height);
    const neuron = this.places.neurons[y * this.places.width + x] ?? -1;
    if (neuron < 0) {
      this.canvas.title = "";
      return;
    }
    const [, height, width] = this.shape;
    const channel = Math.floor(neuron / (height * width));
    const rest = neuron % (height * width);
    const where = height * width === 1 ? `neuron ${channel}` : `channel ${channel}, row ${Math.floor(rest / width)}, column ${rest % width}`;
    const train = order(this.run).map((step) => this.spike(step, neuron)).join("");
    const number_ = this.run.code === "rate" ? "" : ` = ${this.value(neuron)}`;
    const silenced = this.silencedAt(neuron) ? ", silenced" : "";
    const bits = this.run.code === "rate" ? `${train.slice(0, this.run.tau)} ${train.slice(this.run.tau)}`.trim() : train;
    this.canvas.title = `${where}: ${bits}${number_}${silenced}`;
  }
}

// Steps in the order in which they are shown: bits of a number with the highest first.
export function order(run) {
  const steps = run.layers[0]?.worth.map((_, step) => step) ?? [];
  return run.code === "rate" ? steps : steps.reverse();
}

// A step in words.
export function name(run, step) {
  if (run.code !== "rate") return `bit ${step}, worth ${2 ** step}`;
  return step < run.tau ? `probe step ${step + 1}` : `inference step ${step - run.tau + 1}`;
}

// CSS pixels of a neuron in a picture of so many neurons: whole pixels of the screen, so that all
// neurons have the same size.
function scaleOf(width, height, room) {
  const scale = Math.min(room / width, MOST_HEIGHT / height, MOST_SCALE);
  return scale < 1 ? scale : Math.floor(scale * devicePixelRatio) / devicePixelRatio;
}

// The maps of the first channels side by side: which neuron is at each place, -1 for none.
function mosaic(channels, height, width, room) {
  let best = { scale: 0 };
  for (let columns = 1; columns <= channels; columns += 1) {
    const rows = Math.ceil(channels / columns);
    const wide = columns * (width + GAP) - GAP;
    const tall = rows * (height + GAP) - GAP;
    const scale = scaleOf(wide, tall, room);
    // Of equal scales, the flattest picture.
    if (scale >= best.scale) best = { scale, columns, wide, tall };
  }
  const neurons = new Int32Array(best.wide * best.tall).fill(-1);
  for (let neuron = 0; neuron < channels * height * width; neuron += 1) {
    const channel = Math.floor(neuron / (height * width));
    const rest = neuron % (height * width);
    const y = Math.floor(channel / best.columns) * (height + GAP) + Math.floor(rest / width);
    const x = (channel % best.columns) * (width + GAP) + (rest % width);
    neurons[y * best.wide + x] = neuron;
  }
  return { width: best.wide, height: best.tall, neurons };
}

// Neurons without a place in a picture, in lines.
function grid(count) {
  const width = Math.ceil(Math.sqrt(count * 2.5));
  const height = Math.ceil(count / width);
  const neurons = new Int32Array(width * height).fill(-1);
  for (let neuron = 0; neuron < count; neuron += 1) neurons[neuron] = neuron;
  return { width, height, neurons };
}

function mix(from, to, share) {
  return from.map((value, index) => Math.round(value + share * (to[index] - value)));
}

function palette() {
  const style = getComputedStyle(document.documentElement);
  const color = (name_) => {
    const hex = style.getPropertyValue(name_).trim().slice(1);
    return [0, 2, 4].map((place) => parseInt(hex.slice(place, place + 2), 16));
  };
  const [quiet, spike, silenced] = ["--quiet", "--spike", "--silenced"].map(color);
  return { quiet, spike, silenced, pale: mix(quiet, silenced, PALE) };
}

// All layers of a run in an element.
export class Layers {
  constructor(place, chosen) {
    this.place = place;
    this.chosen = chosen;
    this.layers = [];
    this.step = null;
    const again = () => this.paint(this.step);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    new ResizeObserver(again).observe(place);
  }

  show(run, step) {
    this.layers = run.layers.map((found) => new Layer(found, run, (chosen) => this.chosen(chosen)));
    this.place.replaceChildren(...this.layers.map((layer) => layer.card));
    this.paint(step);
  }

  paint(step) {
    this.step = step;
    const colors = palette();
    for (const layer of this.layers) layer.paint(step, colors);
  }

  // Cycles by layer; null while they are not known.
  cost(cycles) {
    this.layers.forEach((layer, index) => {
      const found = cycles?.layers[index];
      layer.cost.textContent = found
        ? `${number(found.cycles)} cycles (${percent(found.cycles / cycles.cycles)})`
        : "";
    });
  }
}

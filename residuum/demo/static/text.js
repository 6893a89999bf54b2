// Numbers as text, and elements of the page.

export const $ = (id) => document.getElementById(id);

const WHOLE = new Intl.NumberFormat("en");

export const number = (value) => WHOLE.format(Math.round(value));

export const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

export function percent(share) {
  const value = 100 * share;
  const digits = value > 0 && value < 10 ? 1 : 0;
  return `${value.toFixed(digits)} %`;
}

// A time in the unit that leaves a number below a thousand.
export function time(microseconds) {
  if (microseconds < 1000) return `${significant(microseconds)} µs`;
  if (microseconds < 1e6) return `${significant(microseconds / 1000)} ms`;
  return `${significant(microseconds / 1e6)} s`;
}

function significant(value) {
  return value < 100 ? value.toFixed(value < 10 ? 2 : 1) : value.toFixed(0);
}

// An element with attributes and children; children that are text are never read as HTML.
export function element(name, attributes = {}, children = []) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Spikes, silenced neurons and neurons of all layers of a run.
export function totals({ layers }) {
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  return {
    spikes: sum(layers.flatMap((layer) => layer.spikes_by_step)),
    silenced: sum(layers.map((layer) => layer.silenced_neurons)),
    neurons: sum(layers.map((layer) => layer.neurons)),
  };
}

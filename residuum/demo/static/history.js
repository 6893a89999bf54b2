// The last runs, to be compared and shown again.

import { writeFragment } from "./link.js";
import { element, number, percent, plural, time, totals } from "./text.js";

const KEPT = 8;

export class History {
  // `again` gets the fragment of the run that the user chooses.
  constructor(place, again) {
    this.place = place;
    this.again = again;
    this.runs = [];
  }

  // Add a run. A drawing that goes on replaces itself, unless it begins `afresh`.
  keep(reply, { chosen, classes, afresh }) {
    const run = {
      reply,
      fragment: writeFragment(chosen),
      said: classes[reply.class] ?? String(reply.class),
      drawn: chosen.strokes !== undefined,
      setting: `${chosen.network}, ${chosen.bits} bit, ${stages(reply)}`,
    };
    const [last] = this.runs;
    if (last?.drawn && run.drawn && last.setting === run.setting && !afresh) this.runs.shift();
    const others = this.runs.filter((each) => each.fragment !== run.fragment);
    this.runs = [run, ...others].slice(0, KEPT);
    this.paint();
  }

  paint() {
    const items = this.runs.map((run, index) => {
      const button = element("button", { type: "button", "aria-current": index === 0 }, [
        element("img", { src: `data:image/png;base64,${run.reply.image}`, alt: "", width: 32, height: 32 }),
        ...texts(run, this.runs[index + 1]),
      ]);
      button.addEventListener("click", () => this.again(run.fragment));
      return element("li", {}, [button]);
    });
    this.place.replaceChildren(...items);
  }
}

// A run in words; `before` is the run before it.
function texts({ reply, said, setting }, before) {
  const { spikes, silenced } = totals(reply);
  const changed = before && before.reply.image === reply.image && before.said !== said;
  const share = reply.shares?.[reply.class];
  const counts = [plural(spikes, reply.code === "rate" ? "spike" : "set bit")];
  if (silenced) counts.push(`${number(silenced)} silenced`);
  const { cycles } = reply;
  const spent = cycles ? [`${number(cycles.cycles)} cycles`, time(cycles.microseconds)] : [];
  return [
    element("span", { class: changed ? "said bad" : "said" }, [
      element("b", {}, [said]),
      share === undefined ? "" : ` ${percent(share)}`,
    ]),
    element("span", { class: "setting" }, [setting]),
    element("span", { class: "soft" }, [counts.join(", ")]),
    element("span", { class: "soft" }, [spent.join(", ")]),
  ];
}

function stages({ code, correction, tau, T }) {
  if (code === "radix") return "radix code";
  return `τ ${tau}, T ${T}, ${correction === "none" ? "no correction" : correction}`;
}

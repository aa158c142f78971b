(() => {
  // What all labs share: elements, controls by key and touch, bars, statistics.
  const root = document.currentScript.closest(".lab");
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const stage = root.querySelector("[data-part='live']");

  const make = (tag, attributes = {}, ...children) => {
    const svg = ["svg", "rect", "circle", "line", "text", "g", "title"].includes(tag);
    const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag)
      : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  let count = 0;
  const slider = (text, { min, max, step = 1, value, say = String }, moved) => {
    const id = `${root.dataset.lab}-${++count}-${Math.random().toString(36).slice(2, 7)}`;
    const input = make("input", { type: "range", id, min, max, step, autocomplete: "off" });
    input.value = value;
    const output = make("output", { for: id });
    const tell = () => {
      output.textContent = say(Number(input.value));
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => { tell(); moved(Number(input.value)); });
    tell();
    const row = make("div", { class: "control" }, make("label", { for: id }, text), input, output);
    return { row, input, tell, get value() { return Number(input.value); },
      set(value) { input.value = value; tell(); } };
  };
  const choice = (text, options, chosen, changed) => {
    const name = `${root.dataset.lab}-${++count}-${Math.random().toString(36).slice(2, 7)}`;
    const row = make("fieldset", {}, make("legend", {}, text));
    options.forEach((option, k) => {
      const input = make("input", { type: "radio", name, value: k, autocomplete: "off" });
      input.checked = k === chosen;
      input.addEventListener("change", () => changed(k));
      row.append(make("label", {}, input, option));
    });
    return row;
  };
  const toggle = (text, on, changed) => {
    const input = make("input", { type: "checkbox", autocomplete: "off" });
    input.checked = on;
    input.addEventListener("change", () => changed(input.checked));
    return make("label", { class: "lab-switch" }, input, text);
  };
  const button = (text, pressed) => {
    const element = make("button", { type: "button" }, text);
    element.addEventListener("click", pressed);
    return element;
  };
  const answer = () => make("p", { class: "answer", role: "status", "aria-live": "polite" });
  const wide = Math.min(600, Math.max(280, stage.clientWidth || root.clientWidth || 600));
  const width = (share) => `${(100 * share).toFixed(2)}%`;  // for a style
  const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
  const COLOURS = { normal: "#0072B2", pneumonia: "#D55E00", "COVID-19": "#009E73" };
  // One bar for each class, with the share written behind it.
  const bars = (names) => {
    const fills = names.map((name) => make("i", { style: `background: ${COLOURS[name]}` }));
    const texts = names.map(() => make("span"));
    const rows = names.map((name, k) => make("div", { class: "bar" },
      make("span", {}, name), make("b", {}, fills[k]), texts[k]));
    return { box: make("div", { class: "bars" }, ...rows), show(shares) {
      shares.forEach((share, k) => {
        fills[k].style.width = width(share);
        texts[k].textContent = percent(share);
      });
    } };
  };
  const wilson = (k, n) => {
    if (!n) return [0, 1];
    const z = 1.959963984540054, p = k / n, d = 1 + z * z / n;
    const middle = p + z * z / (2 * n);
    const half = z * Math.sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    return [Math.max(0, (middle - half) / d), Math.min(1, (middle + half) / d)];
  };
  // McNemar's exact test: could a coin have dealt b and c?
  const mcnemar = (b, c) => {
    const n = b + c;
    let term = 0.5 ** n, sum = 0;
    for (let k = 0; k <= Math.min(b, c); k++) {
      sum += term;
      term *= (n - k) / (k + 1);
    }
    return Math.min(1, 2 * sum);
  };
  const random = (seed) => () => {  // mulberry32: the same draws for the same seed
    seed = (seed + 0x6D2B79F5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const picture = (source) => new Promise((done) => {
    const image = new Image();
    image.addEventListener("load", () => done(image));
    image.src = source;
  });
  const pixels = (image, side) => {
    const canvas = make("canvas", { width: side, height: side });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0, side, side);
    const values = context.getImageData(0, 0, side, side).data;
    return Uint8Array.from({ length: side * side }, (_, k) => values[4 * k]);
  };

  const labs = {
    // Two shares of the same images: their intervals, and the test for pairs.
    intervals() {
      const state = { n: data.n, first: data.first, second: data.second, both: data.both };
      const text = answer(), drawing = make("svg", { viewBox: `0 0 ${wide} 120`, role: "img" });
      const controls = {};
      const draw = () => {
        const { n, first, second, both } = state, shares = [first, second];
        drawing.replaceChildren();
        drawing.setAttribute("aria-label", "Two shares with their 95 % intervals");
        for (let k = 0; k <= 10; k++) {
          const x = 40 + (wide - 80) / 10 * k;
          drawing.append(make("line", { x1: x, x2: x, y1: 10, y2: 88, class: "grid" }));
          if (k % 2 === 0) drawing.append(
            make("text", { x, y: 108, "text-anchor": "middle" }, percent(k / 10)));
        }
        shares.forEach((k, row) => {
          const [low, high] = wilson(k, n), y = 30 + 40 * row, x = (share) => 40 + (wide - 80) * share;
          const colour = ["#0072B2", "#D55E00"][row];
          drawing.append(make("line", { x1: x(low), x2: x(high), y1: y, y2: y,
            stroke: colour, "stroke-width": 4 }));
          drawing.append(row ? make("rect", { x: x(k / n) - 7, y: y - 7, width: 14, height: 14,
            fill: colour }) : make("circle", { cx: x(k / n), cy: y, r: 8, fill: colour }));
          drawing.append(make("text", { x: 8, y: y + 5 }, "AB"[row]));
        });
        const b = first - both, c = second - both, p = mcnemar(b, c);
        const ends = shares.map((k) => wilson(k, n).map((end) => percent(end)).join(" to "));
        const apart = wilson(Math.min(...shares), n)[1] < wilson(Math.max(...shares), n)[0];
        text.textContent = `A: ${first} of ${n}, ${ends[0]}. B: ${second} of ${n}, ${ends[1]}. `
          + `The intervals ${apart ? "do not overlap" : "overlap"}. Only A is right on ${b} images `
          + `and only B on ${c}: p = ${p < 0.001 ? "< 0.001" : p.toFixed(3)} in McNemar's test. `
          + (p < 0.05 ? "The two differ." : "The images do not tell the two apart.");
      };
      const settle = () => {  // what was moved stays, the others give way
        for (const name of ["first", "second"]) {
          controls[name].input.max = state.n;
          state[name] = Math.min(state[name], state.n);
          controls[name].set(state[name]);
        }
        controls.both.input.min = Math.max(0, state.first + state.second - state.n);
        controls.both.input.max = Math.min(state.first, state.second);
        controls.both.set(state.both);
        state.both = controls.both.value;
        draw();
      };
      const control = (name, text, max) => {
        const say = (value) => String(value);
        controls[name] = slider(text, { min: name === "n" ? 1 : 0, max, value: state[name], say },
          (value) => { state[name] = value; settle(); });
        return controls[name].row;
      };
      stage.append(control("n", "Images", data.most), control("first", "Right by A", data.most),
        control("second", "Right by B", data.most), control("both", "Right by both", data.most),
        drawing, text);
      settle();
    },

    // Where to cut a probability, and among whom.
    threshold() {
      let set = data.sets[0], cut = 0.5, share = -2;
      const text = answer(), cells = {}, table = make("table", { class: "counts" });
      const strip = make("svg", { viewBox: `0 0 ${wide} 140`, role: "img" });
      const people = 1000;
      const head = make("tr", {}, make("td"), make("th", { scope: "col" }, "called COVID-19"),
        make("th", { scope: "col" }, "not called so"));
      table.append(make("caption", {}, `Among ${people.toLocaleString("en")} people`), head);
      for (const [row, name] of [["sick", "with COVID-19"], ["well", "without"]]) {
        cells[row] = [make("td"), make("td")];
        table.append(make("tr", {}, make("th", { scope: "row" }, name), ...cells[row]));
      }
      const control = slider("Cut", { min: 0.01, max: 0.99, step: 0.01, value: cut,
        say: (value) => value.toFixed(2) }, (value) => { cut = value; draw(); });
      const among = slider("Have COVID-19", { min: -3, max: -0.3, step: 0.1, value: share,
        say: (value) => `${(people * 10 ** value).toFixed(0)} of ${people}` },
        (value) => { share = value; draw(); });
      const rates = () => {
        if (set.counts) {
          const { found, sick, called, well } = set.counts;
          return [found / sick, called / well, found, sick];
        }
        const found = set.sick.filter((p) => p >= cut).length;
        const wrong = set.well.filter((p) => p >= cut).length;
        return [found / set.sick.length, wrong / set.well.length, found, set.sick.length];
      };
      const draw = () => {
        control.row.hidden = Boolean(set.counts);
        strip.style.display = set.counts ? "none" : "";
        const [recall, alarm, found, sick] = rates(), ill = people * 10 ** share;
        const counts = { sick: [ill * recall, ill * (1 - recall)],
          well: [(people - ill) * alarm, (people - ill) * (1 - alarm)] };
        for (const row of ["sick", "well"])
          counts[row].forEach((value, k) => { cells[row][k].textContent = value.toFixed(0); });
        const isolated = counts.sick[0] + counts.well[0];
        const ends = wilson(found, sick).map((end) => percent(end)).join(" to ");
        text.textContent = `Recall ${percent(recall)} (${found} of ${sick}, ${ends}); false alarms `
          + `${percent(alarm, 1)} of the others. ${isolated.toFixed(0)} people are isolated, and `
          + (isolated ? `${percent(counts.sick[0] / isolated)} of them have COVID-19.`
            : "nobody is found.");
        if (set.counts) return;
        strip.replaceChildren();
        strip.setAttribute("aria-label", "Each image's probability of COVID-19, and the cut");
        [["sick", "with COVID-19", "COVID-19"], ["well", "without", "normal"]].forEach(
          ([row, name, colour], k) => {
            const y = 26 + 66 * k, step = wide / 50, bins = Array(50).fill(0);
            for (const p of set[row]) bins[Math.min(49, Math.floor(50 * p))]++;
            const most = Math.max(...bins);
            bins.forEach((n, bin) => n && strip.append(make("rect", { x: step * bin,
              y: y + 34 - 34 * Math.sqrt(n / most), width: step - 1, height: 34 * Math.sqrt(n / most),
              fill: COLOURS[colour] })));
            strip.append(make("text", { x: 0, y: y - 8 }, name));
          });
        const x = wide * cut;
        strip.append(make("line", { x1: x, x2: x, y1: 22, y2: 134, class: "cut" }));
      };
      stage.append(choice("Network", data.sets.map((one) => one.name), 0,
        (k) => { set = data.sets[k]; draw(); }), control.row, among.row, strip, table, text);
      draw();
    },

    // A lung mask moved and grown: Dice, IoU and what is cut out.
    async mask() {
      const side = data.side, image = await picture(data.image);
      const distance = pixels(await picture(data.distance), side);  // 128 at the border
      const truth = distance.map((d) => d >= 128);
      const canvas = make("canvas", { width: side, height: side, tabindex: 0, role: "img",
        "aria-label": "The radiograph under the mask. Drag the mask, or use the arrow keys." });
      const context = canvas.getContext("2d"), text = answer();
      const state = { x: 0, y: 0, grow: 0 }, controls = {};
      const seen = (x, y) => {
        const [i, j] = [x - state.x, y - state.y];
        const inside = i >= 0 && j >= 0 && i < side && j < side;
        return inside && distance[j * side + i] >= 128 - state.grow;
      };
      const draw = () => {
        context.drawImage(image, 0, 0, side, side);
        const shown = context.getImageData(0, 0, side, side);
        let both = 0, mine = 0, theirs = 0;
        for (let k = 0; k < side * side; k++) {
          const inside = seen(k % side, Math.floor(k / side));
          mine += inside;
          theirs += truth[k];
          both += inside && truth[k];
          if (!inside) for (let c = 0; c < 3; c++) shown.data[4 * k + c] *= 0.22;
          if (inside && !truth[k]) shown.data[4 * k] = Math.min(255, shown.data[4 * k] + 90);
          if (!inside && truth[k]) shown.data[4 * k + 2] = Math.min(255, shown.data[4 * k + 2] + 90);
        }
        context.putImageData(shown, 0, 0);
        const dice = 2 * both / (mine + theirs || 1), iou = both / (mine + theirs - both || 1);
        text.textContent = `Dice ${dice.toFixed(2)}, IoU ${iou.toFixed(2)}. The mask cuts away `
          + `${percent(1 - both / theirs)} of the lungs (blue) and lets through `
          + `${percent((mine - both) / (side * side - theirs))} of what is outside them (red).`;
      };
      const control = (name, label, reach) => {
        controls[name] = slider(label, { min: -reach, max: reach, value: 0,
          say: (value) => `${value} of ${side} pixels` },
          (value) => { state[name] = value; draw(); });
        return controls[name].row;
      };
      const moveTo = (x, y) => {
        controls.x.set(x);
        controls.y.set(y);
        [state.x, state.y] = [controls.x.value, controls.y.value];
        draw();
      };
      canvas.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1],
          ArrowDown: [0, 1] }[event.key];
        if (!step) return;
        event.preventDefault();
        moveTo(state.x + step[0], state.y + step[1]);
      });
      let start = null;
      canvas.addEventListener("pointerdown", (event) => {
        canvas.setPointerCapture(event.pointerId);
        start = [event.clientX, event.clientY, state.x, state.y];
      });
      canvas.addEventListener("pointermove", (event) => {
        if (!start) return;
        const scale = side / canvas.clientWidth;
        moveTo(Math.round(start[2] + (event.clientX - start[0]) * scale),
          Math.round(start[3] + (event.clientY - start[1]) * scale));
      });
      for (const name of ["pointerup", "pointercancel"])
        canvas.addEventListener(name, () => { start = null; });
      stage.append(make("div", { class: "beside" }, canvas, make("div", {},
        control("x", "Right", 40), control("y", "Down", 40), control("grow", "Grow", 20),
        button("Back to the true mask", () => {
          controls.grow.set(0);
          state.grow = 0;
          moveTo(0, 0);
        }), text)));
      draw();
    },

    // Patients as dots: who is dealt to both sides, and what a nearest neighbour makes of it.
    roulette() {
      const { patient, label, neighbours, classes } = data, n = patient.length;
      const found = { image: [], patient: [] }, text = answer();
      const groups = [...new Set(patient)];
      const across = Math.floor(wide / 17);
      const dots = make("svg", { viewBox: `0 0 ${wide} ${24 * Math.ceil(groups.length / across) + 8}`,
        role: "img", "aria-label": "One dot for each patient" });
      const scores = make("svg", { viewBox: `0 0 ${wide} 110`, role: "img" });
      const at = (share) => 84 + (wide - 110) * share;
      let seed = 0;
      const shuffle = (list, next) => {
        const dealt = [...list];
        for (let k = dealt.length - 1; k > 0; k--) {
          const j = Math.floor(next() * (k + 1));
          [dealt[k], dealt[j]] = [dealt[j], dealt[k]];
        }
        return dealt;
      };
      const split = (way, next) => {
        const isTest = Array(n).fill(false);
        if (way === "image") {
          for (const k of shuffle([...patient.keys()], next).slice(0, Math.round(n * data.share)))
            isTest[k] = true;
          return isTest;
        }
        let left = Math.round(n * data.share);
        for (const group of shuffle(groups, next)) {
          if (left <= 0) break;
          patient.forEach((p, k) => { if (p === group) { isTest[k] = true; left--; } });
        }
        return isTest;
      };
      const judge = (isTest) => {
        let right = 0, tested = 0;
        isTest.forEach((test, k) => {
          if (!test) return;
          const nearest = neighbours[k].find((j) => !isTest[j]);
          right += nearest !== undefined && label[nearest] === label[k];
          tested++;
        });
        return right / tested;
      };
      const show = (way, isTest, accuracy) => {
        dots.replaceChildren();
        let leaked = 0;
        groups.forEach((group, k) => {
          const mine = isTest.filter((_, j) => patient[j] === group);
          const both = mine.includes(true) && mine.includes(false);
          leaked += both;
          const x = 9 + 17 * (k % across), y = 14 + 24 * Math.floor(k / across);
          const colour = both ? "#D55E00" : mine[0] ? "#0072B2" : "#9a9a9a";
          dots.append(both ? make("rect", { x: x - 6, y: y - 6, width: 12, height: 12, fill: colour })
            : make("circle", { cx: x, cy: y, r: mine[0] ? 6 : 4, fill: colour }));
        });
        scores.replaceChildren();
        scores.setAttribute("aria-label", "Accuracy of every draw, by image and by patient");
        for (let k = 0; k <= 10; k += 2) scores.append(
          make("line", { x1: at(k / 10), x2: at(k / 10), y1: 6, y2: 84, class: "grid" }),
          make("text", { x: at(k / 10), y: 104, "text-anchor": "middle" }, percent(k / 10)));
        ["image", "patient"].forEach((name, row) => {
          const y = 26 + 36 * row;
          scores.append(make("text", { x: 0, y: y + 5 }, `by ${name}`));
          for (const one of found[name]) scores.append(make("line", { x1: at(one),
            x2: at(one), y1: y - 10, y2: y + 10, stroke: row ? "#0072B2" : "#D55E00",
            "stroke-width": 2.5, "stroke-opacity": 0.7 }));
        });
        const means = ["image", "patient"].filter((name) => found[name].length).map((name) => {
          const all = found[name], mean = all.reduce((a, b) => a + b) / all.length;
          return `${all.length} ${all.length > 1 ? "draws" : "draw"} by ${name}: mean `
            + `${percent(mean, 1)}, ${percent(Math.min(...all))} to ${percent(Math.max(...all))}`;
        });
        text.textContent = `This draw by ${way}: ${leaked} patients are on both sides (orange `
          + `squares), accuracy ${percent(accuracy, 1)}. ${means.join("; ")}.`;
      };
      const draw = (way, times) => {
        let isTest, accuracy;
        for (let k = 0; k < times; k++) {
          isTest = split(way, random(++seed));
          accuracy = judge(isTest);
          found[way].push(accuracy);
        }
        show(way, isTest, accuracy);
      };
      const row = make("div", { class: "buttons" });
      for (const way of ["image", "patient"])
        for (const times of [1, 20]) row.append(button(
          times > 1 ? `${times} times by ${way}` : `Draw by ${way}`, () => draw(way, times)));
      stage.append(row, dots, scores, text);
      draw("image", 1);
    },

    // One patient: hospital, marker and lesion switched; two networks' answers and maps.
    counterfactual() {
      const state = [0, 1, 1];  // hospital, marker, lesion
      const image = make("img", { class: "dark-light", width: 224, height: 224 }), text = answer();
      const networks = data.networks.map((name) => {
        const heat = make("img", { class: "dark-light", width: 224, height: 224 });
        const chart = bars(data.classes);
        return { name, heat, chart, box: make("div", { class: "panel" }, make("h4", {}, name),
          heat, chart.box) };
      });
      const draw = () => {
        const shown = data.pictures[state.join("")];
        image.src = shown.image;
        image.alt = `Phantom, hospital ${data.hospitals[state[0]]}, `
          + `${state[1] ? "with" : "without"} marker, ${state[2] ? "with" : "without"} lesion`;
        const said = networks.map((network, k) => {
          const probs = shown.probs[k], called = probs.indexOf(Math.max(...probs));
          network.heat.src = shown.maps[k];
          network.heat.alt = `${network.name}: Grad-CAM for ${data.asked}`;
          network.chart.show(probs);
          return `The ${network.name} network says ${data.classes[called]}, `
            + `${percent(probs[called])}`;
        });
        text.textContent = `${said.join(". ")}.`;
      };
      const switchTo = (place) => (value) => { state[place] = Number(value); draw(); };
      stage.append(choice("Hospital", data.hospitals, state[0], switchTo(0)),
        toggle("marker", true, switchTo(1)), toggle("lesion", true, switchTo(2)),
        make("div", { class: "panels" }, make("div", { class: "panel" },
          make("h4", {}, "the phantom"), image), ...networks.map((network) => network.box)), text);
      draw();
    },

    // A map's cell, and the pixels that it is made of.
    cells() {
      const { live, reach, side } = data, rows = live.length, text = answer();
      const box = make("div", { class: "stack" },
        make("img", { class: "dark-light", src: data.image, alt: "A radiograph" }));
      const frame = make("i", { class: "frame" });
      const grid = make("div", { class: "grid", style: `--columns: ${live[0].length}` });
      const show = (i, j) => {
        const [top, left] = [reach.start + reach.stride * i, reach.start + reach.stride * j];
        const place = (value) => width(Math.min(Math.max(value, 0), side) / side);
        const [bottom, right] = [top + reach.size, left + reach.size];
        frame.style.top = place(top);
        frame.style.left = place(left);
        frame.style.height = `calc(${place(bottom)} - ${place(top)})`;
        frame.style.width = `calc(${place(right)} - ${place(left)})`;
        frame.classList.toggle("dead", !live[i][j]);
        text.textContent = `Row ${i + 1}, column ${j + 1} of ${data.layer}: `
          + (live[i][j] ? "live. Its value reaches the answer." :
            "dead. Nothing that this cell holds reaches the answer.");
      };
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < live[i].length; j++) {
          const cell = button(live[i][j] ? "live" : "dead", () => show(i, j));
          cell.className = live[i][j] ? "live" : "dead";
          cell.setAttribute("aria-label",
            `${cell.textContent}: row ${i + 1}, column ${j + 1}`);
          for (const name of ["pointerenter", "focus"])
            cell.addEventListener(name, () => show(i, j));
          grid.append(cell);
        }
      box.append(frame);
      stage.append(make("div", { class: "beside" }, box, make("div", {}, grid, text)));
      show(0, 0);
    },

    // The mask as a sheet that is pulled off the radiograph.
    async cover() {
      const { side, places, classes, cases } = data;
      const images = await Promise.all(cases.map((one) => picture(one.image)));
      const masks = await Promise.all(cases.map(async (one) =>
        pixels(await picture(one.mask), side)));
      let shown = data.first, place = 0;
      const canvas = make("canvas", { width: side, height: side, role: "img" });
      const context = canvas.getContext("2d"), text = answer();
      const charts = data.networks.map(() => bars(classes));
      const draw = () => {
        const shift = places[place];
        context.drawImage(images[shown], 0, 0, side, side);
        const picture = context.getImageData(0, 0, side, side);
        for (let k = 0; k < side * side; k++) {
          const x = k % side;
          if (x >= shift && masks[shown][k - shift] < 128)
            for (let c = 0; c < 3; c++) picture.data[4 * k + c] = 0;
        }
        context.putImageData(picture, 0, 0);
        const probs = cases[shown].probs[place];
        const share = percent(shift / side);
        canvas.setAttribute("aria-label", `A drawn radiograph, the mask pulled off ${share}`);
        const said = probs.map((shares, k) => {
          charts[k].show(shares);
          const called = classes[shares.indexOf(Math.max(...shares))];
          return `the network ${data.networks[k]} says ${called}`;
        });
        text.textContent = `In truth ${cases[shown].truth}; ${said.join(", ")}.`;
      };
      const control = slider("Pull the mask off", { min: 0, max: places.length - 1, value: 0,
        say: (value) => percent(places[value] / side) }, (value) => { place = value; draw(); });
      let held = false;
      const pull = (event) => {
        const box = canvas.getBoundingClientRect();
        const x = (event.clientX - box.left) / box.width;
        control.set(Math.round(Math.min(Math.max(x, 0), 1) * (places.length - 1)));
        place = control.value;
        draw();
      };
      canvas.addEventListener("pointerdown", (event) => {
        canvas.setPointerCapture(event.pointerId);
        held = true;
        pull(event);
      });
      canvas.addEventListener("pointermove", (event) => held && pull(event));
      for (const name of ["pointerup", "pointercancel"])
        canvas.addEventListener(name, () => { held = false; });
      const panels = data.networks.map((name, k) =>
        make("div", { class: "panel" }, make("h4", {}, name), charts[k].box));
      stage.append(make("div", { class: "beside" }, canvas, make("div", {},
        choice("Patient", cases.map((one) => one.truth), shown, (k) => { shown = k; draw(); }),
        control.row, ...panels, text)));
      draw();
    },
  };

  root.classList.add("running");
  labs[root.dataset.lab]();
})();

// Draws the charts of the page from the JSON in it. What it writes it writes as text.
"use strict";
(() => {
	const data = JSON.parse(document.getElementById("data").textContent);
	const root = document.documentElement;
	const css = name => getComputedStyle(root).getPropertyValue(name).trim();
	const color = n => css("--c" + n);
	const dark = () => !root.hasAttribute("data-light") && matchMedia("(prefers-color-scheme: dark)").matches;

	const round = v => v >= 100 ? v.toFixed(0) : String(+v.toPrecision(3));
	const ms = v => v == null ? "–" : v >= 1000 ? round(v / 1000) + " s" : v >= 1 ? round(v) + " ms" : round(v * 1000) + " µs";
	const rate = v => v == null ? "–" : v >= 1e6 ? round(v / 1e6) + "M" : v >= 1e4 ? round(v / 1e3) + "k" : round(v);
	const nines = x => {
		if (x == null) return "–";
		const q = 100 * (1 - 10 ** -x);
		return "p" + +q.toFixed(Math.max(0, Math.ceil(x) - 1) + (x % 1 ? 1 : 0));
	};

	const share = x => nines(x).slice(1) + " %";

	// oneTwoFive is the ticks of a logarithmic scale: as many as there is room for.
	const oneTwoFive = (low, high) => {
		const all = [];
		const decades = Math.log10(high / low);
		const steps = decades > 3 ? [1] : decades > 0.7 ? [1, 2, 5] : [1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9];
		for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
			for (const s of steps) {
				const v = s * 10 ** e;
				if (v >= low && v <= high) all.push(v);
			}
		return all;
	};

	const font = "12px system-ui, sans-serif", pen = document.createElement("canvas").getContext("2d");
	const widthOf = text => {
		pen.font = font;
		return pen.measureText(text).width;
	};
	// spaced drops the values whose labels would overlap, from the end of the axis on.
	const spaced = (u, values, scale, sizeOf) => {
		let free = Infinity; // up to the label that was kept last
		return values.toReversed().map(v => {
			const along = u.valToPos(v, scale), at = scale === "x" ? along : -along, half = sizeOf(v) / 2;
			if (at + half > free) return null;
			free = at - half - 8;
			return v;
		}).reverse();
	};
	const labels = (values, text) => values.map(v => v == null ? "" : text(v));

	const sizeFor = least => (u, values) => Math.max(least, ...(values || []).map(v => 20 + widthOf(v || "")));
	const axis = more => ({
		stroke: () => css("--quiet"), font, labelFont: font,
		grid: { stroke: () => css("--line"), width: 1 }, ticks: { stroke: () => css("--line"), width: 1 }, ...more,
	});
	const room = el => Math.max(200, el.clientWidth);
	const height = el => room(el) < 480 ? 240 : 320;
	const base = el => ({
		width: room(el), height: height(el), padding: [12, 12, 0, 0],
		cursor: { drag: { x: false, y: false } }, legend: { live: true },
	});

	const charts = [];
	function chart(id, options, values) {
		const el = document.getElementById(id);
		if (el) charts.push(new uPlot({ ...base(el), ...options }, values, el));
	}

	function curve() {
		const values = [data.nines], series = [{ label: "percentile", value: (u, v) => nines(v) }];
		for (const r of data.runs) {
			values.push(r.latency);
			series.push({ label: r.name, stroke: color(r.color), width: 2, value: (u, v) => ms(v), points: { show: false } });
			if (!r.open) continue;
			values.push(r.service);
			series.push({ label: r.name + ", service time", stroke: color(r.color), width: 1.5, dash: [2, 4], value: (u, v) => ms(v), points: { show: false } });
		}
		const last = data.nines[data.nines.length - 1];
		chart("curve", {
			padding: [12, 34, 0, 0], // half of the longest label, 99.9999 %, which may stand at the end
			scales: { x: { time: false, range: [0, last] }, y: { distr: 3, range: (u, low, high) => [low / 1.2, high * 1.2] } },
			axes: [
				axis({
					splits: () => [Math.log10(2), 1, 2, 3, 4, 5, 6].filter(x => x <= last), space: 10,
					filter: (u, all) => spaced(u, all, "x", x => widthOf(share(x))), values: (u, all) => labels(all, share),
				}),
				axis({
					splits: (u, i, low, high) => oneTwoFive(low, high), size: sizeFor(64),
					filter: (u, all) => spaced(u, all, "y", () => 12), values: (u, all) => labels(all, ms),
				}),
			],
			series,
		}, values);
	}

	// overTime joins lines of several runs, whose seconds do not begin together.
	function overTime(id, lines, unit) {
		if (!lines.length) return;
		const end = Math.max(...lines.map(l => l.times[l.times.length - 1] || 0));
		chart(id, {
			padding: [12, 4 + widthOf(round(end) + " s") / 2, 0, 0],
			scales: { x: { time: false }, y: { range: (u, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
			axes: [axis({ values: (u, all) => all.map(v => round(v) + " s"), space: 60 }), axis({ values: (u, all) => all.map(rate), size: sizeFor(56) })],
			series: [{ label: "second", value: (u, v) => v == null ? "–" : round(v) }].concat(lines.map(l => ({
				label: l.name, stroke: l.stroke, width: l.width || 2, dash: l.dash, value: (u, v) => v == null ? "–" : rate(v) + unit,
				paths: uPlot.paths.stepped({ align: 1 }), points: { show: false },
			}))),
		}, uPlot.join(lines.map(l => [l.times, l.values])));
	}

	function rates() {
		// The later one is narrower, or it would hide the one below where they are the same.
		const width = n => Math.min(5, 2 + 1.5 * (data.runs.length - 1 - n));
		const lines = data.runs.map((r, n) => ({ name: r.name, stroke: color(r.color), width: width(n), times: r.times, values: r.rate }));
		for (const r of data.runs.filter(r => r.failed)) lines.push({ name: r.name + ", failed", stroke: color(r.color), width: 1.5, dash: [2, 3], times: r.times, values: r.failed });
		for (const asked of new Set(data.runs.map(r => r.requested).filter(a => a > 0))) {
			const r = data.runs.find(r => r.requested === asked);
			lines.unshift({ name: "requested", stroke: css("--quiet"), width: 1, dash: [6, 4], times: r.times, values: r.times.map(() => asked) });
		}
		overTime("rate", lines, "/s");
	}

	const dashes = [undefined, [8, 4], [2, 3], [10, 3, 2, 3]];
	function outcomes() {
		const lines = [];
		for (const r of data.runs)
			(r.failures || []).forEach((f, n) => lines.push({
				name: data.runs.length > 1 ? r.name + ": " + f.name : f.name,
				stroke: color(data.runs.length > 1 ? r.color : (n + 1) % 8), dash: dashes[(data.runs.length > 1 ? n : 0) % 4], times: r.times, values: f.rate,
			}));
		overTime("outcomes", lines, "/s");
	}

	// The heat map's colours, from few exchanges to many.
	const ramps = {
		light: [[226, 238, 247], [146, 197, 222], [56, 132, 190], [18, 70, 130], [8, 22, 60]],
		dark: [[38, 44, 72], [92, 52, 128], [190, 62, 96], [248, 142, 60], [255, 240, 170]],
	};
	function shade(ramp, part) {
		const at = Math.min(0.9999, Math.max(0, part)) * (ramp.length - 1), n = Math.floor(at);
		return "rgb(" + ramp[n].map((v, i) => Math.round(v + (ramp[n + 1][i] - v) * (at - n))).join(",") + ")";
	}

	const frame = { left: 64, right: 12, top: 8, bottom: 26 };
	function place(canvas, r) {
		const w = canvas.clientWidth - frame.left - frame.right, h = canvas.clientHeight - frame.top - frame.bottom;
		const from = r.times[0], to = r.times[r.times.length - 1], { low, high } = data.heat;
		return {
			w, h, from, to,
			x: t => frame.left + (t - from) / (to - from || 1) * w,
			y: v => frame.top + h - Math.log(v / low) / Math.log(high / low) * h,
		};
	}
	function heat(canvas) {
		const r = data.runs[canvas.dataset.run], scale = devicePixelRatio || 1, g = canvas.getContext("2d");
		canvas.width = canvas.clientWidth * scale;
		canvas.height = canvas.clientHeight * scale;
		g.scale(scale, scale);
		const p = place(canvas, r), most = Math.log1p(Math.max(1, ...r.heat.flat())), ramp = ramps[dark() ? "dark" : "light"];
		const cell = p.h / data.heat.bins;
		r.heat.forEach((column, n) => column.forEach((count, bin) => {
			if (!count) return;
			g.fillStyle = shade(ramp, Math.log1p(count) / most);
			const x = Math.floor(p.x(r.times[n])), top = Math.floor(frame.top + p.h - (bin + 1) * cell);
			g.fillRect(x, top, Math.ceil(p.x(r.times[n + 1])) - x, Math.ceil(frame.top + p.h - bin * cell) - top);
		}));
		g.font = font;
		g.fillStyle = css("--quiet");
		g.strokeStyle = css("--line");
		g.textAlign = "right";
		g.textBaseline = "middle";
		let above = Infinity;
		for (const v of oneTwoFive(data.heat.low, data.heat.high)) {
			const y = Math.round(p.y(v)) + 0.5;
			if (above - y < 16) continue;
			above = y;
			g.fillText(ms(v), frame.left - 8, y);
			g.beginPath();
			g.moveTo(frame.left - 5, y);
			g.lineTo(frame.left, y);
			g.stroke();
		}
		g.textAlign = "center";
		g.textBaseline = "top";
		const step = niceStep((p.to - p.from) / (p.w / 70));
		for (let t = Math.ceil(p.from / step) * step; t <= p.to + 1e-9; t += step)
			g.fillText(round(t) + " s", Math.min(p.x(t), canvas.clientWidth - widthOf(round(t) + " s") / 2), frame.top + p.h + 8);
		g.strokeRect(frame.left + 0.5, frame.top + 0.5, p.w - 1, p.h - 1);
	}
	function niceStep(least) {
		const e = 10 ** Math.floor(Math.log10(least || 1));
		return [1, 2, 5, 10].map(s => s * e).find(s => s >= least) || 10 * e;
	}
	function readout(canvas, event) {
		const r = data.runs[canvas.dataset.run], p = place(canvas, r), box = canvas.getBoundingClientRect();
		const t = p.from + (event.clientX - box.left - frame.left) / p.w * (p.to - p.from);
		const bin = Math.floor((frame.top + p.h - (event.clientY - box.top)) / p.h * data.heat.bins);
		const n = r.times.findIndex((from, n) => from <= t && t < r.times[n + 1]);
		const out = document.querySelector('.readout[data-run="' + canvas.dataset.run + '"]');
		const edge = b => data.heat.low * (data.heat.high / data.heat.low) ** (b / data.heat.bins);
		const count = n < 0 || bin < 0 ? undefined : r.heat[n][bin];
		out.textContent = count === undefined ? "\u00a0" : round(r.times[n]) + " s to " + round(r.times[n + 1]) + " s, " + ms(edge(bin)) + " to " + ms(edge(bin + 1)) + ": " + count + (count === 1 ? " exchange" : " exchanges");
	}

	// A table that does not fit says that it scrolls.
	function scrolls() {
		for (const table of document.querySelectorAll(".scroll")) table.nextElementSibling.hidden = table.scrollWidth <= table.clientWidth + 1;
	}

	function draw() {
		for (const c of charts.splice(0)) c.destroy();
		if (data.nines.length > 1) curve();
		rates();
		outcomes();
		for (const c of document.querySelectorAll("canvas.heat")) if (data.runs[c.dataset.run].heat) heat(c);
		scrolls();
	}
	draw();
	root.dataset.drawn = "yes";

	for (const c of document.querySelectorAll("canvas.heat")) if (data.runs[c.dataset.run].heat) c.addEventListener("pointermove", e => readout(c, e));
	let width = innerWidth;
	addEventListener("resize", () => {
		if (innerWidth === width) return; // a phone's address bar comes and goes
		width = innerWidth;
		draw();
	});
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
	// Paper is white.
	addEventListener("beforeprint", () => { root.setAttribute("data-light", ""); draw(); });
	addEventListener("afterprint", () => { root.removeAttribute("data-light"); draw(); });
})();

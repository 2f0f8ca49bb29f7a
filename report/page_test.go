package report_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/bothends/bothends/internal/need"
	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/report"
)

var update = flag.Bool("update", false, "write the screenshots in docs/report anew")

const hostile = `</script><script>document.title="taken"</script><img src=x onerror="document.title='taken'"> "'&`

// twoRuns are what the screenshots show: a server, and the same one after a change that
// made it slower, and lets it stall.
func twoRuns() []report.Run {
	before := simulation{seed: 4, intervals: 60, every: time.Second, rate: 400, open: true, drift: 0.06}.run()
	after := simulation{seed: 5, intervals: 60, every: time.Second, rate: 400, open: true, drift: 0.06, slower: 1.35}.run()
	for n, i := range after.Intervals[34:37] { // of 400 a second some met the stall, and ended later
		met, ended := 150-40*n, 60+50*n
		calm := &load.Interval{Start: i.Start, End: i.End, Outcomes: map[string]int64{"timeout": int64(12 - 3*n), "reset": 3}, Phases: make(map[string]*load.Histogram)}
		simulation{every: time.Second, open: true}.fill(calm, rand.New(rand.NewPCG(1, uint64(n))), 400-met, 1.35)
		for k := range ended - 15 + 3*n {
			calm.Outcomes["ok"]++
			calm.Succeeded++
			calm.Latency.Record(time.Duration(k+1) * 2 * time.Millisecond)
			calm.Service.Record(time.Duration(k/20+1) * 2 * time.Millisecond)
		}
		*i = *calm
	}
	before.Config.Label, after.Config.Label = "before", "after the change"
	for _, r := range []*load.Record{before, after} {
		r.Config.PerConnection, r.Config.Connections, r.Host.Name = 1, 50, "load1"
	}
	return []report.Run{{Name: "before.json", Record: before}, {Name: "after.json", Record: after}}
}

func pageFile(t *testing.T, runs []report.Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.HTML(&b, runs); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(name, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return "file://" + name
}

// A browser is a Chromium with one page in it, and what went wrong there.
type browser struct {
	context.Context
	mu   sync.Mutex
	said []string // errors and warnings
	sent []string // requests
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	allocator, stop := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(need.Program(t, "chromium", "chromium")), chromedp.NoSandbox)...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	b := &browser{Context: ctx}
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	call(t, b, network.Enable, network.EnableParams{})
	return b
}

// patience is for what the browser is asked, one by one.
const patience = 20 * time.Second

func ask[T any](t *testing.T, b *browser, action chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(b, patience)
	defer cancel()
	answer, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func call[P, R any](t *testing.T, b *browser, command cdp.Command[P, R], params P) R {
	t.Helper()
	answer, err := chromedp.Call(b, command, params)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func evaluate[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	return ask(t, b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, "data:") {
			b.sent = append(b.sent, e.Request.URL)
		}
	case *runtime.EventExceptionThrown:
		b.said = append(b.said, e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		b.said = append(b.said, "console."+string(e.Type))
	case *log.EventEntryAdded:
		b.said = append(b.said, e.Entry.Text)
	}
}

func (b *browser) scheme(t *testing.T, scheme string) {
	t.Helper()
	call(t, b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	b.settle(t)
}

// settle waits for two frames: uPlot draws in a microtask, and the browser after it.
func (b *browser) settle(t *testing.T) {
	t.Helper()
	evaluate[bool](t, b, `new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
}

func (b *browser) open(t *testing.T, url, scheme string, width, height int64) {
	t.Helper()
	var options []chromedp.EmulateViewportOption
	if width < 500 {
		options = append(options, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	ask(t, b, chromedp.EmulateViewport(width, height, options...))
	b.scheme(t, scheme)
	ask(t, b, chromedp.Navigate(url))
	ask(t, b, chromedp.WaitReady(chromedp.CSS(`html[data-drawn="yes"]`)))
	b.settle(t)
}

func (b *browser) quiet(t *testing.T, url string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.said) > 0 {
		t.Errorf("the browser complains: %q", b.said)
	}
	for _, request := range b.sent {
		if request != url {
			t.Errorf("the page loads %s", request)
		}
	}
	if len(b.sent) == 0 {
		t.Error("not even the page was loaded: nothing was watched")
	}
	b.said, b.sent = nil, nil
}

// vivid is how many pixels of each canvas are neither grey nor nearly so, as axes and
// their labels are.
const vivid = `[...document.querySelectorAll("canvas")].map(c => {
	const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
	let n = 0;
	for (let i = 0; i < d.length; i += 4)
		if (d[i + 3] > 128 && Math.max(d[i], d[i + 1], d[i + 2]) - Math.min(d[i], d[i + 1], d[i + 2]) > 60) n++;
	return n;
})`

// look is what is seen of a page: its background, and two of its drawings.
const look = `[getComputedStyle(document.body).backgroundColor, document.querySelector("canvas.heat").toDataURL(), document.querySelector("#rate canvas").toDataURL()]`

const pageWidth = `document.documentElement.scrollWidth`

func TestPageInBrowser(t *testing.T) {
	b := startBrowser(t)
	runs := twoRuns()
	runs[1].Config.Label, runs[1].Config.Target, runs[1].Host.Name = hostile, hostile, hostile
	runs[1].Intervals[3].Outcomes[hostile] = 4
	runs[1].Intervals[3].Phases[hostile] = &runs[1].Intervals[3].SchedulingLag
	url := pageFile(t, runs)

	b.open(t, url, "light", 1100, 900)
	drawn := evaluate[[]int](t, b, vivid)
	if len(drawn) != 5 { // the curve, two heat maps, the rate, the outcomes
		t.Errorf("%d canvases", len(drawn))
	}
	if slices.Min(drawn) < 500 {
		t.Errorf("coloured pixels of the canvases: %v", drawn)
	}
	title, heading := ask(t, b, chromedp.Title()), evaluate[string](t, b, `document.querySelectorAll("h2")[1].textContent`)
	elements := evaluate[int](t, b, `document.images.length + document.querySelectorAll("script").length`)
	if !strings.HasPrefix(title, "before, </script>") || elements != 3 || heading != hostile {
		t.Errorf("title %q, heading %q, %d images and scripts", title, heading, elements)
	}
	light := evaluate[[]string](t, b, look)
	b.quiet(t, url)

	// A system that goes dark while the page is open.
	b.scheme(t, "dark")
	for n, dark := range evaluate[[]string](t, b, look) {
		if dark == light[n] {
			t.Errorf("%d is the same in the dark: %.40s", n, dark)
		}
	}
	if readout := evaluate[string](t, b, pointAtHeatMap); !strings.Contains(readout, " exchange") {
		t.Errorf("the heat map says %q", readout)
	}

	b.open(t, url, "dark", 360, 800)
	if width := evaluate[int](t, b, pageWidth); width != 360 {
		t.Errorf("the page is %d wide on a phone of 360", width)
	}
	if again := evaluate[[]int](t, b, vivid); len(again) != len(drawn) || slices.Min(again) < 200 {
		t.Errorf("coloured pixels of the canvases on a phone: %v", again)
	}
	b.quiet(t, url)
	b.edges(t)
	b.odd(t)
}

// onEdge is how many pixels are drawn on the right edge of the curve's canvas: a label that
// is cut off there.
const onEdge = `(() => {
	const c = document.querySelector("#curve canvas"), d = c.getContext("2d").getImageData(c.width - 2, 0, 2, c.height).data;
	return d.filter((v, i) => i % 4 === 3 && v > 0).length;
})()`

// edges is runs of as many exchanges as put the last label on the axis's end.
func (b *browser) edges(t *testing.T) {
	t.Helper()
	for _, exchanges := range []int{100, 1000, 10_000, 1_000_000} {
		r := frozen()
		r.Intervals = r.Intervals[:1]
		recordTimes(&r.Intervals[0].Latency, time.Millisecond, exchanges)
		url := pageFile(t, []report.Run{{Name: "run", Record: r}})
		for _, width := range []int64{360, 1100} {
			b.open(t, url, "light", width, 800)
			if n := evaluate[int](t, b, onEdge); n > 0 {
				t.Errorf("%d exchanges, %d wide: the label of the last percentile is cut off", exchanges, width)
			}
		}
		b.quiet(t, url)
	}
}

const pointAtHeatMap = `(() => {
	const c = document.querySelector("canvas.heat"), box = c.getBoundingClientRect();
	c.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + box.width / 2, clientY: box.top + box.height / 2}));
	return document.querySelector(".readout").textContent;
})()`

// odd is runs that have little, or nothing: the page is drawn all the same.
func (b *browser) odd(t *testing.T) {
	t.Helper()
	one := frozen()
	one.Intervals = one.Intervals[:1]
	failed := frozen()
	for _, i := range failed.Intervals {
		i.Outcomes, i.Latency, i.Service = map[string]int64{"refused": 100}, load.Histogram{}, load.Histogram{}
	}
	var many []report.Run
	for range 10 {
		many = append(many, report.Run{Name: "run", Record: frozen()})
	}
	for name, runs := range map[string][]report.Run{"one interval": {{Name: "one", Record: one}}, "none well": {{Name: "failed", Record: failed}}, "empty": {{Name: "empty", Record: new(load.Record)}}, "ten": many} {
		url := pageFile(t, runs)
		b.open(t, url, "light", 360, 800)
		if width := evaluate[int](t, b, pageWidth); width != 360 {
			t.Errorf("%s: the page is %d wide on a phone of 360", name, width)
		}
		b.quiet(t, url)
	}
}

// watchLabels keeps each label that is drawn on a canvas, with its box in pixels of the page.
const watchLabels = `(() => {
	window.labels = [];
	const draw = CanvasRenderingContext2D.prototype.fillText;
	CanvasRenderingContext2D.prototype.fillText = function(text, x, y) {
		const m = this.getTransform(), size = this.measureText(text), scale = this.canvas.width / this.canvas.clientWidth;
		const at = new DOMPoint(x, y).matrixTransform(m), k = m.a / scale;
		labels.push({ text, canvas: this.canvas, left: at.x / scale - size.actualBoundingBoxLeft * k, right: at.x / scale + size.actualBoundingBoxRight * k,
			top: at.y / scale - size.actualBoundingBoxAscent * k, bottom: at.y / scale + size.actualBoundingBoxDescent * k });
		return draw.apply(this, arguments);
	};
})()`

// badLabels are pairs of labels on one canvas that overlap or touch, and labels that are cut
// off at its edge.
const badLabels = `(() => {
	const bad = [], all = labels.filter(l => l.text && l.canvas.isConnected);
	all.forEach((a, n) => {
		if (a.left < -0.5 || a.right > a.canvas.clientWidth + 0.5 || a.top < -0.5 || a.bottom > a.canvas.clientHeight + 0.5) bad.push(a.text + " is cut off");
		for (const b of all.slice(n + 1))
			if (a.canvas === b.canvas && a.text !== b.text && a.left < b.right + 2 && b.left < a.right + 2 && a.top < b.bottom && b.top < a.bottom) bad.push(a.text + " and " + b.text);
	});
	return all.length > 0 ? bad : ["no label was drawn"];
})()`

// badTables are tables that do not fit and have no visible sign of it, and the other way round;
// and words of their heads and of a run's name that are broken.
const badTables = `(() => {
	const bad = [];
	for (const s of document.querySelectorAll(".scroll")) {
		const cut = s.scrollWidth > s.clientWidth + 1, note = s.nextElementSibling;
		if (cut !== note.checkVisibility()) bad.push(s.ariaLabel + ": cut off " + cut + ", says so " + note.checkVisibility());
	}
	const range = document.createRange();
	for (const e of document.querySelectorAll("th, td .name, .nowrap, dt, .quiet")) {
		const text = e.firstChild;
		if (!text || text.nodeType !== Node.TEXT_NODE) continue;
		for (const word of text.data.matchAll(/[^\s-]+/g)) {
			range.setStart(text, word.index);
			range.setEnd(text, word.index + word[0].length);
			if (range.getClientRects().length > 1 && word[0].length < 24) bad.push("broken: " + word[0]);
		}
	}
	return bad;
})()`

// On a phone, and on wider screens, no two labels of an axis overlap, none is cut off, no
// word is broken, the page is as wide as the screen, and a table that is wider says so.
func TestPageFits(t *testing.T) {
	b := startBrowser(t)
	call(t, b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watchLabels})
	many := frozen() // as many exchanges as there are labels for
	recordMany(&many.Intervals[0].Latency, 21)
	many.Config.Label = "127.0.0.1:1060 persistent"
	narrow := frozen() // all latencies within less than a decade
	for n, i := range narrow.Intervals {
		i.Latency = load.Histogram{}
		recordTimes(&i.Latency, time.Duration(n+1)*time.Millisecond, 100)
		i.Start, i.End = i.Start*3600, i.End*3600
		i.Outcomes["unreachable"] = 3
	}
	for name, runs := range map[string][]report.Run{"two": twoRuns(), "many": {{Name: "many", Record: many}}, "narrow": {{Name: "run-of-eight-hours.json", Record: narrow}}} {
		url := pageFile(t, runs)
		for _, width := range []int64{360, 400, 800, 1280} {
			b.open(t, url, "light", width, 800)
			if got := evaluate[int64](t, b, pageWidth); got != width {
				t.Errorf("%s: the page is %d wide on a screen of %d", name, got, width)
			}
			for what, expression := range map[string]string{"labels": badLabels, "tables": badTables} {
				if bad := evaluate[[]string](t, b, expression); len(bad) > 0 {
					t.Errorf("%s, %d wide, %s: %q", name, width, what, bad)
				}
			}
		}
		b.quiet(t, url)
	}
}

// recordMany doubles the counts of a histogram so many times.
func recordMany(h *load.Histogram, times int) {
	for range times {
		h.Merge(h)
	}
}

// The headline and the chart are what succeeded, with failures beside them: of a server that
// refuses, the rate is 0.
func TestPageOfFailures(t *testing.T) {
	dead, other := frozen(), frozen()
	for n, i := range dead.Intervals {
		if n >= 4 {
			i.Outcomes, i.Succeeded, i.Latency, i.Service = map[string]int64{"refused": 50_000}, 0, load.Histogram{}, load.Histogram{}
		}
	}
	for _, i := range other.Intervals { // names of its own
		i.Outcomes, i.Succeeded = map[string]int64{"200": 90, "404": 5, "503": 5}, 95
	}
	other.Config.Success = []string{"200", "404"}
	for want, r := range map[string]*load.Record{
		`<b>50/s</b> succeeded, 100/s requested <span class="bad failed">200000 failed (99.80 %)</span>`: dead,
		`<b>95/s</b> succeeded, 100/s requested <span class="bad failed">40 failed (5.00 %)</span>`:      other,
		`"rate":[100,100,100,100,0,0,0,0,0],"failed":[0,0,0,0,50000,50000,50000,50000,50000]`:            dead,
		`"rate":[95,95,95,95,95,95,95,95,95],"failed":[5,5,5,5,5,5,5,5,5],"failures":[{"name":"503",`:    other,
		`<td class="bad"><span class="name">refused</span></td>`:                                         dead,
		`<td class="bad"><span class="name">503</span></td>`:                                             other,
		`<td><span class="name">404</span></td>`:                                                         other,
	} {
		var page bytes.Buffer
		if err := report.HTML(&page, []report.Run{{Name: "run", Record: r}}); err != nil || !strings.Contains(page.String(), want) {
			t.Errorf("%v, no %s", err, want)
		}
	}
}

// The figures are there without JavaScript, and nothing is loaded from elsewhere.
func TestPageIsWhole(t *testing.T) {
	var out bytes.Buffer
	if err := report.HTML(&out, []report.Run{{Name: "frozen.json", Record: frozen()}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"`, `<td class="n">1920.991</td>`, "<noscript>", "100.00 %", "190 exchanges waited for a connection"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s", want)
		}
	}
	for _, bad := range []string{"<script src", "<link rel=\"stylesheet", "ZgotmplZ"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("it has %s", bad)
		}
	}
	failed := frozen()
	failed.Config.Label = "all\u202efailed"
	for _, i := range failed.Intervals {
		i.Outcomes, i.Latency = map[string]int64{"refused": 5}, load.Histogram{}
	}
	out.Reset()
	if err := report.HTML(&out, []report.Run{{Name: "failed.json", Record: failed}}); err != nil {
		t.Fatal(err)
	}
	if page := out.String(); strings.Contains(page, "Latency by percentile") || !strings.Contains(page, "<title>all?failed ") {
		t.Error("of a run without latencies it draws some, or it keeps what steers a text")
	}
	if err := report.HTML(broken{}, []report.Run{{Record: frozen()}}); err == nil {
		t.Error("it does not tell what it could not write")
	}
}

// The screenshots are checked to be there, and made anew with -update: each browser
// draws its letters in its own way.
func TestScreenshots(t *testing.T) {
	shots := []struct {
		name, scheme  string
		width, height int64
	}{{"light.png", "light", 1100, 1960}, {"dark.png", "dark", 1100, 1960}, {"phone.png", "light", 360, 1960}}
	var b *browser
	var url string
	for _, s := range shots {
		file := filepath.Join("..", "docs", "report", s.name)
		if *update {
			if b == nil {
				b, url = startBrowser(t), pageFile(t, twoRuns())
			}
			b.open(t, url, s.scheme, s.width, s.height)
			shot := smaller(t, ask(t, b, chromedp.CaptureScreenshot()))
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o777), os.WriteFile(file, shot, 0o666)); err != nil {
				t.Fatal(err)
			}
		}
		if info, err := os.Stat(file); err != nil || info.Size() > 160_000 {
			t.Errorf("%s: %v, %v; go test ./report -run Screenshots -update", file, info, err)
		}
	}
}

// smaller is the same picture; Chromium does not take the time.
func smaller(t *testing.T, shot []byte) []byte {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, picture); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

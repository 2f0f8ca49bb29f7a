package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/bothends/bothends/internal/adminhttp"
	"github.com/bothends/bothends/internal/proxytest"
	"github.com/bothends/bothends/proxy"
)

// set returns a Set that is closed with the test, and the reports of its connections.
func set(t testing.TB) (*proxy.Set, chan proxy.Connection) {
	ended := make(chan proxy.Connection, 100)
	s := &proxy.Set{Done: func(c proxy.Connection) { ended <- c }}
	t.Cleanup(func() { s.Close() })
	return s, ended
}

// admin returns a Set with a Handler that listens, and its Client.
func admin(t testing.TB) (*proxy.Set, *Client, chan proxy.Connection) {
	s, ended := set(t)
	server := httptest.NewServer(&Handler{Set: s})
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return s, &Client{URL: server.URL}, ended
}

// A test suite in any language can do this with an HTTP client.
func TestClientDrivesProxies(t *testing.T) {
	_, c, ended := admin(t)
	ctx := context.Background()
	to := proxytest.Target(t, proxytest.Answers("pong", 4))
	redis, err := c.Add(ctx, proxy.Spec{Name: "redis", Listen: "127.0.0.1:0", Target: to, Replies: "first:1(reset:2)", Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	if want := (proxy.Status{Spec: proxy.Spec{Name: "redis", Listen: redis.Listen, Target: to, Replies: "first:1(reset:2)", Seed: 7}, Enabled: true}); redis != want || strings.HasSuffix(redis.Listen, ":0") {
		t.Errorf("%+v, want %+v", redis, want)
	}
	wantReply := func(want string) {
		t.Helper()
		reply, how := proxytest.Ask(t, redis.Listen)
		if reply+" "+how != want {
			t.Errorf("%q and %s, want %s", reply, how, want)
		}
		<-ended
	}
	wantReply("po reset")
	wantReply("pong fin")
	if _, err := c.SetFault(ctx, "redis", proxy.Replies, "first:1(close:3)"); err != nil {
		t.Fatal(err)
	}
	wantReply("pon fin")
	wantReply("pong fin")
	if _, err := c.SetFault(ctx, "redis", proxy.Replies, "first:1(close:3)"); err != nil { // starts counting again
		t.Fatal(err)
	}
	wantReply("pon fin")
	if _, err := c.SetFault(ctx, "redis", proxy.Requests, "halfclose:1"); err != nil {
		t.Fatal(err)
	}
	wantReply(" fin")
	if got, err := c.ClearFault(ctx, "redis", proxy.Requests); err != nil || got.Requests != "" || got.Replies != "first:1(close:3)" {
		t.Errorf("%+v, %v", got, err)
	}
	wantReply("pong fin")
	seed := uint64(8)
	if got, err := c.Change(ctx, "redis", proxy.Change{Seed: &seed}); err != nil || got.Seed != 8 {
		t.Errorf("%+v, %v", got, err)
	}
	wantReply("pon fin") // all faults start anew
	other := proxytest.Target(t, proxytest.Answers("other", 4))
	if got, err := c.Change(ctx, "redis", proxy.Change{Target: &other}); err != nil || got.Target != other || got.Replies != "first:1(close:3)" {
		t.Errorf("%+v, %v", got, err)
	}
	wantReply("other fin")

	clientLists(t, c, to)
}

// clientLists adds a second proxy and lists both.
func clientLists(t *testing.T, c *Client, to string) {
	ctx := context.Background()
	second, err := c.Add(ctx, proxy.Spec{Listen: "127.0.0.1:0", Target: to})
	if err != nil || second.Name != second.Listen {
		t.Errorf("%+v, %v", second, err)
	}
	list, err := c.Proxies(ctx)
	if err != nil || len(list) != 2 || list[0] != second || list[1].Name != "redis" || list[1].Connections != 9 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := c.Remove(ctx, second.Name); err != nil {
		t.Error(err)
	}
	if proxytest.ListensAt(second.Listen) {
		t.Error("it listens after it was removed")
	}
	if got, err := c.Proxy(ctx, "redis"); err != nil || got != list[1] {
		t.Errorf("%+v, %v", got, err)
	}
}

// Remove closes the connections: a test suite is done with the proxy.
func TestRemoveClosesConnections(t *testing.T) {
	s, c, ended := admin(t)
	added, err := c.Add(context.Background(), proxy.Spec{Name: "a", Listen: "127.0.0.1:0", Target: proxytest.Target(t, proxytest.Answers("ok", 4))})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", added.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for s.Open() == 0 {
	}
	if err := c.Remove(context.Background(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, how := proxytest.HowItEnds(t, conn); how != "reset" {
		t.Error(how)
	}
	if got := <-ended; got.Ended != proxy.EndedStopped {
		t.Errorf("%+v", got)
	}
}

// A test suite closes the connections of a proxy, stops it and starts it again, and sets a
// fault that open connections do or do not get.
func TestClientDisablesAndDropsConnections(t *testing.T) {
	_, c, ended := admin(t)
	ctx := context.Background()
	added, err := c.Add(ctx, proxy.Spec{Name: "a", Listen: "127.0.0.1:0", Target: proxytest.Target(t, proxytest.Answers("pong", 4))})
	if err != nil || !added.Enabled {
		t.Fatalf("%+v, %v", added, err)
	}
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", added.Listen)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "pi")
		for got, err := c.Proxy(ctx, "a"); got.Open == 0 && err == nil; got, err = c.Proxy(ctx, "a") {
		}
		return conn
	}
	ends := func(conn net.Conn, want string) {
		t.Helper()
		if want != " reset" { // a write would get the error, and a read none after it
			io.WriteString(conn, "ng")
		}
		if reply, how := proxytest.HowItEnds(t, conn); reply+" "+how != want {
			t.Errorf("%q and %s, want %s", reply, how, want)
		}
		conn.Close()
		<-ended
	}
	conn := dial()
	corrupt := "corrupt:0"
	if got, err := c.Change(ctx, "a", proxy.Change{Replies: &corrupt, NewOnly: true}); err != nil || got.Replies != corrupt {
		t.Errorf("%+v, %v", got, err)
	}
	ends(conn, "pong fin")
	conn = dial()
	if _, err := c.SetFault(ctx, "a", proxy.Replies, "close:3"); err != nil {
		t.Error(err)
	}
	ends(conn, "pon fin")
	conn = dial()
	if _, err := c.DropConns(ctx, "a"); err != nil {
		t.Error(err)
	}
	ends(conn, " reset")
	conn = dial()
	if got, err := c.Disable(ctx, "a"); err != nil || got.Enabled || got.Listen != added.Listen || proxytest.ListensAt(added.Listen) {
		t.Errorf("disabled: %+v, %v", got, err)
	}
	ends(conn, " reset")
	if got, err := c.Enable(ctx, "a"); err != nil || !got.Enabled || !proxytest.ListensAt(added.Listen) {
		t.Errorf("enabled: %+v, %v", got, err)
	}
}

// Each change is reported in one line. A request that only asks, or fails, is not.
func TestChangesAreReported(t *testing.T) {
	s, _ := set(t)
	var told []string
	server := httptest.NewServer(&Handler{Set: s, Changed: func(c Change) { told = append(told, c.What) }})
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	c, ctx := &Client{URL: server.URL}, context.Background()
	added, err := c.Add(ctx, proxy.Spec{Name: "a", Listen: "127.0.0.1:0", Target: "127.0.0.1:1", Replies: "reset:2", Seed: 7, Unreachable: proxy.ClosingFIN})
	if err != nil {
		t.Fatal(err)
	}
	seed, target := uint64(0), "127.0.0.1:2"
	c.Change(ctx, "a", proxy.Change{Seed: &seed, Target: &target})
	c.SetFault(ctx, "a", proxy.Requests, "drip:1")
	c.SetFault(ctx, "a", proxy.Requests, "drop")
	c.ClearFault(ctx, "a", proxy.Replies)
	c.Proxies(ctx)
	c.DropConns(ctx, "a")
	c.Disable(ctx, "a")
	c.Remove(ctx, "a")
	c.Remove(ctx, "a")
	want := []string{
		"added a: " + added.Listen + " to 127.0.0.1:1, replies reset:2, seed 7, unreachable fin",
		"changed a: 127.0.0.1:0 to 127.0.0.1:2, replies reset:2, unreachable fin",
		"set the fault on requests of a to drip:1",
		"cleared the fault on replies of a",
		"closed the connections of a",
		"changed a: 127.0.0.1:0 to 127.0.0.1:2, requests drip:1, unreachable fin, disabled",
		"removed a",
	}
	want[1] = strings.Replace(want[1], "127.0.0.1:0", added.Listen, 1)
	want[5] = strings.Replace(want[5], "127.0.0.1:0", added.Listen, 1)
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
}

func TestAdminErrors(t *testing.T) {
	s, c, _ := admin(t)
	if _, err := s.Add(context.Background(), proxy.Spec{Name: "a", Listen: "127.0.0.1:0", Target: "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	taken, _ := s.Proxy("a")
	free := proxytest.FreeAddress(t)
	for _, r := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/", "", 404, "not found: /"},
		{"GET", "/v1/proxies/", "", 404, ": no such proxy"},
		{"GET", "/v1/proxies/b", "", 404, "b: no such proxy"},
		{"PATCH", "/v1/proxies/b", "{}", 404, "b: no such proxy"},
		{"DELETE", "/v1/proxies/b", "", 404, "b: no such proxy"},
		{"PUT", "/v1/proxies/b/faults/replies", `{"fault":"reset"}`, 404, "b: no such proxy"},
		{"GET", "/v1/proxies/a/faults", "", 404, "not found: /v1/proxies/a/faults"},
		{"PUT", "/v1/proxies", "{}", 405, "PUT is not a method of /v1/proxies"},
		{"POST", "/v1/proxies", "", 400, "the body: EOF"},
		{"POST", "/v1/proxies", "[]", 400, "the body: json: "},
		{"POST", "/v1/proxies", `{"listen":":0","target":"a:1"}{}`, 400, "the body: unexpected data after the object"},
		{"POST", "/v1/proxies", `{"listening":":0"}`, 400, `the body: json: unknown field "listening"`},
		{"POST", "/v1/proxies", `{"target":"a:1"}`, 400, `listen: "": expected HOST:PORT, [IPv6]:PORT or unix:PATH`},
		{"POST", "/v1/proxies", `{"listen":":0","target":"a:1","name":"a/b"}`, 400, `name: "a/b": expected`},
		{"POST", "/v1/proxies", `{"listen":"` + free + `","target":"a:1","name":"a"}`, 409, "a: the name is in use"},
		{"POST", "/v1/proxies", `{"listen":"` + taken.Listen + `","target":"a:1"}`, 409, "listen tcp " + taken.Listen + ": bind: address already in use"},
		{"POST", "/v1/proxies", `{"listen":"` + strings.Repeat("x", maxBody) + `"}`, 413, "the body is larger than 65536 octets (64 KiB)"},
		{"PATCH", "/v1/proxies/a", `{"target":"b:2","replies":"rest"}`, 400, "replies: fault "},
		{"PATCH", "/v1/proxies/a", `{"name":"b"}`, 400, `the body: json: unknown field "name"`},
		{"PUT", "/v1/proxies/a/faults/sideways", `{"fault":"reset"}`, 400, `sideways: "sideways" is not requests, replies or connect`},
		{"PUT", "/v1/proxies/a/faults/connect", `{"fault":"reset"}`, 400, "connect: reset is not a fault of connecting"},
		{"PUT", "/v1/proxies/a/faults/replies", `{}`, 400, "the body: fault is missing"},
		{"PUT", "/v1/proxies/a/faults/replies", `null`, 400, "the body: expected an object"},
		{"PUT", "/v1/proxies/a/faults/replies", `{"fault":null}`, 400, "the body: fault: null is not a value"},
		{"PUT", "/v1/proxies/a/faults/replies", `{"Fault":"reset"}`, 400, `the body: unknown field "Fault"`},
		{"PATCH", "/v1/proxies/a", `{"target":"b:2","TARGET":"c:3"}`, 400, `the body: unknown field "TARGET"`},
		{"PATCH", "/v1/proxies/a", `{"requeſts":"reset"}`, 400, `the body: unknown field "requeſts"`},
		{"PATCH", "/v1/proxies/a", `{"target":"b:2","target":"c:3"}`, 400, "the body: target: the key is repeated"},
		{"PATCH", "/v1/proxies/a", `{"seed":null}`, 400, "the body: seed: null is not a value"},
		{"PATCH", "/v1/proxies/a", `{"target":"x y:1"}`, 400, `target: "x y:1": expected HOST:PORT, [IPv6]:PORT or unix:PATH`},
		{"PATCH", "/v1/proxies/a", `{"target":"[fe80::1%a\nb]:1"}`, 400, `target: "[fe80::1%a\nb]:1": expected HOST:PORT, [IPv6]:PORT or unix:PATH`},
		{"DELETE", "/v1/proxies/a/faults/sideways", "", 400, "sideways: "},
	} {
		req, err := http.NewRequest(r.method, c.URL+r.path, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		status, text := send(t, req)
		var body adminhttp.Error
		if err := json.Unmarshal(text, &body); err != nil || status != r.status || !strings.HasPrefix(body.Error, r.want) {
			t.Errorf("%s %s %.60s\n%d %s, want %d %s", r.method, r.path, r.body, status, text, r.status, r.want)
		}
	}
	if proxytest.ListensAt(free) {
		t.Error("the name was in use, and the listener stayed open")
	}
	if now, _ := s.Proxy("a"); now != taken || len(s.Proxies()) != 1 {
		t.Errorf("errors changed it: %+v", s.Proxies())
	}
	var failed *Error
	if _, err := c.Proxy(context.Background(), "b"); !errors.As(err, &failed) || failed.Status != 404 || err.Error() != "b: no such proxy" {
		t.Error(err)
	}
}

func send(t testing.TB, req *http.Request) (int, []byte) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(body) > 0 && resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s: %s", req.Method, req.URL, resp.Header.Get("Content-Type"))
	}
	return resp.StatusCode, body
}

// What internal/adminhttp refuses gets an answer in JSON.
func TestAdminKeepsWebPagesOut(t *testing.T) {
	req := httptest.NewRequest("GET", "/v1/proxies", nil)
	req.Host = "evil.example:8474"
	got := httptest.NewRecorder()
	(&Handler{Set: new(proxy.Set)}).ServeHTTP(got, req)
	if got.Code != 403 || got.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d %v", got.Code, got.Header())
	}
	req.Host = "evil.example."
	got = httptest.NewRecorder()
	(&Handler{Set: new(proxy.Set), Hosts: []string{"evil.example"}}).ServeHTTP(got, req)
	if got.Code != 200 {
		t.Errorf("an allowed name: %d", got.Code)
	}
}

type media struct {
	Schema  map[string]any
	Example any
}

type operation struct {
	RequestBody struct {
		Content map[string]media
	} `yaml:"requestBody"`
	Responses map[string]any
}

type description struct {
	OpenAPI    string
	Paths      map[string]map[string]yaml.Node
	Components struct {
		Schemas   map[string]struct{ Properties map[string]any }
		Responses map[string]struct{ Content map[string]media }
	}
}

func readDescription(t *testing.T) (api description) {
	t.Helper()
	text, err := os.ReadFile("../../docs/proxy-api.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Load(text, &api); err != nil {
		t.Fatal(err)
	}
	return api
}

func TestOpenAPIHasTheRoutes(t *testing.T) {
	api := readDescription(t)
	if !strings.HasPrefix(api.OpenAPI, "3.1.") {
		t.Error(api.OpenAPI)
	}
	var described, there []string
	for path, methods := range api.Paths {
		for method := range methods {
			if method != "parameters" {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	for _, r := range routes {
		there = append(there, r.method+" "+r.path)
	}
	slices.Sort(described)
	slices.Sort(there)
	if diff := cmp.Diff(there, described); diff != "" {
		t.Errorf("the routes, and docs/proxy-api.yaml:\n%s", diff)
	}
}

func TestOpenAPIHasTheFields(t *testing.T) {
	api := readDescription(t)
	for name, of := range map[string]any{"Spec": proxy.Spec{}, "Status": proxy.Status{}, "Change": proxy.Change{}, "Fault": faultBody{}, "Problem": adminhttp.Error{}} {
		var has []string
		for field := range api.Components.Schemas[name].Properties {
			has = append(has, field)
		}
		slices.Sort(has)
		if diff := cmp.Diff(fieldsOf(reflect.TypeOf(of)), has); diff != "" {
			t.Errorf("the fields of %s:\n%s", name, diff)
		}
	}
	for name, of := range map[string]any{"Status": new(proxy.Status), "Missing": new(adminhttp.Error), "Taken": new(adminhttp.Error), "Error": new(adminhttp.Error)} {
		strictly(t, name, api.Components.Responses[name].Content["application/json"].Example, of)
	}
}

// The requests of the examples are made, in an order that works.
func TestOpenAPIExamples(t *testing.T) {
	api := readDescription(t)
	_, c, _ := admin(t)
	for _, step := range []struct{ method, path, at string }{
		{"post", "/v1/proxies", "/v1/proxies"},
		{"patch", "/v1/proxies/{name}", "/v1/proxies/redis"},
		{"put", "/v1/proxies/{name}/faults/{on}", "/v1/proxies/redis/faults/requests"},
	} {
		var described operation
		node := api.Paths[step.path][step.method]
		if err := node.Decode(&described); err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(described.RequestBody.Content["application/json"].Example)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(strings.ToUpper(step.method), c.URL+step.at, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		status, answer := send(t, req)
		if status >= 300 || described.Responses[strconv.Itoa(status)] == nil {
			t.Errorf("%s %s with the example: %d %s", step.method, step.path, status, answer)
		}
	}
}

// fieldsOf returns the JSON names of the fields of a struct.
func fieldsOf(t reflect.Type) (fields []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			fields = append(fields, fieldsOf(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields = append(fields, name)
	}
	slices.Sort(fields)
	return fields
}

// strictly decodes an example of the description without unknown fields.
func strictly(t *testing.T, name string, example, into any) {
	t.Helper()
	text, err := json.Marshal(example)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil || reflect.ValueOf(into).Elem().IsZero() {
		t.Errorf("the example of %s, %s: %v", name, text, err)
	}
}

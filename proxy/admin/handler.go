package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/bothends/bothends/internal/adminhttp"
	"github.com/bothends/bothends/proxy"
)

// maxBody is the largest body of a request in octets. The largest that is needed is a
// Spec, with three faults.
const maxBody = 64 << 10

// A Handler lists, adds, changes and removes the proxies of a Set over HTTP, in JSON:
// docs/proxy-api.yaml describes it, and [Client] uses it.
//
// It does not ask who a client is: let it listen on loopback. Web pages are kept out: a
// request with an Origin is refused, and so is one for a host that is a name other than
// localhost, since any name can point here (DNS rebinding).
type Handler struct {
	Set *proxy.Set
	// Hosts are further names of this host that are let in.
	Hosts []string
	// Changed, if not nil, is called after each change. Calls may be concurrent.
	Changed func(Change)
}

// A Change is what one request has changed.
type Change struct {
	Client string // the address of the HTTP client
	What   string // one line: "added redis: 127.0.0.1:7000 to 127.0.0.1:6379"
}

// A route is what one method on one path does. It returns a status and a body, nil for
// none, or an error.
type route struct {
	method, path string
	handle       func(*proxy.Set, *http.Request) (int, any, error)
}

var routes = []route{
	{"GET", "/v1/proxies", listProxies},
	{"POST", "/v1/proxies", addProxy},
	{"GET", "/v1/proxies/{name}", getProxy},
	{"PATCH", "/v1/proxies/{name}", changeProxy},
	{"DELETE", "/v1/proxies/{name}", removeProxy},
	{"PUT", "/v1/proxies/{name}/faults/{on}", setFault},
	{"DELETE", "/v1/proxies/{name}/faults/{on}", clearFault},
	{"DELETE", "/v1/proxies/{name}/connections", dropConns},
}

// A proxyList contains all proxies, as JSON.
type proxyList struct {
	Proxies []proxy.Status `json:"proxies"`
}

// A faultBody is one fault, as JSON.
type faultBody struct {
	Fault   string `json:"fault"`
	NewOnly bool   `json:"new_only,omitempty"` // leaves open connections as they are
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if why := (adminhttp.Guard{Hosts: h.Hosts}).Check(req); why != "" {
		adminhttp.Answer(w, http.StatusForbidden, adminhttp.Error{Error: why})
		return
	}
	found, values, allow := find(req)
	switch {
	case found != nil:
	case allow != nil:
		w.Header().Set("Allow", strings.Join(allow, ", "))
		adminhttp.Answer(w, http.StatusMethodNotAllowed, adminhttp.Error{Error: req.Method + " is not a method of " + req.URL.Path})
		return
	default:
		adminhttp.Answer(w, http.StatusNotFound, adminhttp.Error{Error: "not found: " + req.URL.Path})
		return
	}
	for key, value := range values {
		req.SetPathValue(key, value)
	}
	req.Body = http.MaxBytesReader(w, req.Body, maxBody)
	status, body, err := found.handle(h.Set, req)
	if err != nil {
		status, body = statusOf(err), adminhttp.Error{Error: err.Error()}
	} else if h.Changed != nil && req.Method != "GET" {
		h.Changed(Change{req.RemoteAddr, whatChanged(req, body)})
	}
	adminhttp.Answer(w, status, body)
}

// whatChanged returns one line about a request that has succeeded.
func whatChanged(req *http.Request, body any) string {
	name := req.PathValue("name")
	now, _ := body.(proxy.Status)
	switch on := proxy.Direction(req.PathValue("on")); {
	case strings.HasSuffix(req.URL.Path, "/connections"):
		return "closed the connections of " + name
	case req.Method == "POST":
		return fmt.Sprintf("added %s", now.Spec)
	case on != "" && now.Fault(on) == "":
		return fmt.Sprintf("cleared the fault on %s of %s", on, name)
	case on != "":
		return fmt.Sprintf("set the fault on %s of %s to %s", on, name, now.Fault(on))
	case req.Method == "DELETE":
		return "removed " + name
	}
	if !now.Enabled {
		return fmt.Sprintf("changed %s, disabled", now.Spec)
	}
	return fmt.Sprintf("changed %s", now.Spec)
}

// find returns the route of a request with the values in its path, or the methods that
// the path has. The errors of http.ServeMux are not JSON.
func find(req *http.Request) (found *route, values map[string]string, allow []string) {
	asked := strings.Split(req.URL.EscapedPath(), "/")
	for i, r := range routes {
		got, ok := match(strings.Split(r.path, "/"), asked)
		if !ok {
			continue
		}
		if r.method == req.Method {
			return &routes[i], got, nil
		}
		allow = append(allow, r.method)
	}
	return nil, nil, allow
}

func match(pattern, asked []string) (map[string]string, bool) {
	if len(pattern) != len(asked) {
		return nil, false
	}
	values := make(map[string]string)
	for i, part := range pattern {
		value, err := url.PathUnescape(asked[i])
		if key, ok := strings.CutPrefix(part, "{"); ok && err == nil {
			values[strings.TrimSuffix(key, "}")] = value
		} else if part != value {
			return nil, false
		}
	}
	return values, true
}

// errBody marks an error in the body of a request.
type errBody struct{ error }

func (e errBody) Unwrap() error { return e.error }

// tooLarge marks a body that exceeds maxBody.
type tooLarge struct{ error }

func statusOf(err error) int {
	var spec *proxy.SpecError
	var body errBody
	var network *net.OpError
	switch {
	case errors.As(err, new(tooLarge)):
		return http.StatusRequestEntityTooLarge
	case errors.As(err, &spec), errors.As(err, &body):
		return http.StatusBadRequest
	case errors.Is(err, proxy.ErrNoProxy):
		return http.StatusNotFound
	case errors.Is(err, proxy.ErrNameTaken), errors.As(err, &network): // the address cannot be bound
		return http.StatusConflict
	case errors.Is(err, proxy.ErrClosed):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// read decodes a body of one JSON object with known keys, the required ones among them.
func read(req *http.Request, into any, required ...string) error {
	text, err := io.ReadAll(req.Body)
	if errors.As(err, new(*http.MaxBytesError)) {
		return tooLarge{fmt.Errorf("the body is larger than %d octets (64 KiB)", maxBody)}
	} else if err != nil {
		return errBody{fmt.Errorf("the body: %w", err)}
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return errBody{fmt.Errorf("the body: %w", err)}
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errBody{errors.New("the body: unexpected data after the object")}
	}
	if err := checkKeys(text, required); err != nil {
		return errBody{fmt.Errorf("the body: %w", err)}
	}
	return nil
}

// checkKeys rejects what Decode accepts: null for an object or a value, a key with
// capitals, and one that is repeated. What Decode accepted contains no other object.
func checkKeys(text []byte, required []string) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if begin, _ := decoder.Token(); begin != json.Delim('{') {
		return errors.New("expected an object")
	}
	seen := make(map[string]bool)
	for decoder.More() {
		token, _ := decoder.Token()
		value, _ := decoder.Token()
		key, _ := token.(string)
		switch {
		case strings.Trim(key, "abcdefghijklmnopqrstuvwxyz_") != "":
			return fmt.Errorf("unknown field %q", key)
		case seen[key]:
			return fmt.Errorf("%s: the key is repeated", key)
		case value == nil:
			return fmt.Errorf("%s: null is not a value", key)
		}
		seen[key] = true
	}
	for _, key := range required {
		if !seen[key] {
			return fmt.Errorf("%s is missing", key)
		}
	}
	return nil
}

func listProxies(s *proxy.Set, _ *http.Request) (int, any, error) {
	return http.StatusOK, proxyList{s.Proxies()}, nil
}

func addProxy(s *proxy.Set, req *http.Request) (int, any, error) {
	var spec proxy.Spec
	if err := read(req, &spec); err != nil {
		return 0, nil, err
	}
	status, err := s.Add(req.Context(), spec)
	return http.StatusCreated, status, err
}

func getProxy(s *proxy.Set, req *http.Request) (int, any, error) {
	status, err := s.Proxy(req.PathValue("name"))
	return http.StatusOK, status, err
}

func changeProxy(s *proxy.Set, req *http.Request) (int, any, error) {
	var change proxy.Change
	if err := read(req, &change); err != nil {
		return 0, nil, err
	}
	status, err := s.Change(req.Context(), req.PathValue("name"), change)
	return http.StatusOK, status, err
}

func removeProxy(s *proxy.Set, req *http.Request) (int, any, error) {
	return http.StatusNoContent, nil, s.Remove(req.PathValue("name"))
}

func setFault(s *proxy.Set, req *http.Request) (int, any, error) {
	var body faultBody
	if err := read(req, &body, "fault"); err != nil {
		return 0, nil, err
	}
	return changeFault(s, req, body)
}

func clearFault(s *proxy.Set, req *http.Request) (int, any, error) {
	return changeFault(s, req, faultBody{})
}

func changeFault(s *proxy.Set, req *http.Request, body faultBody) (int, any, error) {
	on := proxy.Direction(req.PathValue("on"))
	if _, err := on.Parse(body.Fault); err != nil {
		return 0, nil, &proxy.SpecError{Field: string(on), Err: err}
	}
	change := proxy.Change{NewOnly: body.NewOnly}
	switch on {
	case proxy.Requests:
		change.Requests = &body.Fault
	case proxy.Replies:
		change.Replies = &body.Fault
	case proxy.Connect:
		change.Connect = &body.Fault
	}
	status, err := s.Change(req.Context(), req.PathValue("name"), change)
	return http.StatusOK, status, err
}

func dropConns(s *proxy.Set, req *http.Request) (int, any, error) {
	status, err := s.DropConns(req.PathValue("name"))
	return http.StatusOK, status, err
}

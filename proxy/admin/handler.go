package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// maxBody is the largest body of a request in octets. The largest that is needed is a
// Spec, with three faults.
const maxBody = 64 << 10

// An Admin lists, adds, changes and removes the proxies of a Set over HTTP, in JSON:
// docs/proxy-api.yaml describes it, and [Client] speaks it.
//
// It asks nobody who they are, so it belongs on loopback. Web pages are kept out: a
// request with an Origin is refused, and so is one for a host that is a name other
// than localhost, since anybody's name may point here (DNS rebinding).
type Admin struct {
	Set *Set
	// Hosts are further names of this host that are let in.
	Hosts []string
	// Changed, if not nil, is called after each change. It may be called concurrently.
	Changed func(AdminChange)
}

// An AdminChange is what one request to an Admin has changed.
type AdminChange struct {
	Client string // the address of the HTTP client
	What   string // one line: "added redis (127.0.0.1:7000 to 127.0.0.1:6379)"
}

// A route is what one method on one path does. It answers with a status and a body,
// nil for none, or with an error.
type route struct {
	method, path string
	handle       func(*Set, *http.Request) (int, any, error)
}

var routes = []route{
	{"GET", "/v1/proxies", listProxies},
	{"POST", "/v1/proxies", addProxy},
	{"GET", "/v1/proxies/{name}", getProxy},
	{"PATCH", "/v1/proxies/{name}", changeProxy},
	{"DELETE", "/v1/proxies/{name}", removeProxy},
	{"PUT", "/v1/proxies/{name}/faults/{on}", setFault},
	{"DELETE", "/v1/proxies/{name}/faults/{on}", clearFault},
}

// A proxyList is all the proxies, as JSON.
type proxyList struct {
	Proxies []Status `json:"proxies"`
}

// A faultBody is one fault, as JSON.
type faultBody struct {
	Fault string `json:"fault"`
}

// An errorBody is why a request failed, as JSON.
type errorBody struct {
	Error string `json:"error"`
}

func (a *Admin) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if why := a.refuse(req); why != "" {
		answer(w, http.StatusForbidden, errorBody{why})
		return
	}
	found, values, allow := find(req)
	switch {
	case found != nil:
	case allow != nil:
		w.Header().Set("Allow", strings.Join(allow, ", "))
		answer(w, http.StatusMethodNotAllowed, errorBody{req.Method + " is not for " + req.URL.Path})
		return
	default:
		answer(w, http.StatusNotFound, errorBody{"nothing at " + req.URL.Path})
		return
	}
	for key, value := range values {
		req.SetPathValue(key, value)
	}
	req.Body = http.MaxBytesReader(w, req.Body, maxBody)
	status, body, err := found.handle(a.Set, req)
	if err != nil {
		status, body = statusOf(err), errorBody{err.Error()}
	} else if a.Changed != nil && req.Method != "GET" {
		a.Changed(AdminChange{req.RemoteAddr, whatChanged(req, body)})
	}
	answer(w, status, body)
}

// whatChanged is one line about a request that has succeeded.
func whatChanged(req *http.Request, body any) string {
	name := req.PathValue("name")
	now, _ := body.(Status)
	switch on := Direction(req.PathValue("on")); {
	case req.Method == "POST":
		return fmt.Sprintf("added %s", now.Spec)
	case on != "" && *now.fault(on) == "":
		return fmt.Sprintf("cleared the fault on %s of %s", on, name)
	case on != "":
		return fmt.Sprintf("set the fault on %s of %s to %s", on, name, *now.fault(on))
	case req.Method == "DELETE":
		return "removed " + name
	}
	return fmt.Sprintf("changed %s", now.Spec)
}

// find returns the route of a request with the values in its path, or the methods that
// the path has. http.ServeMux would do, but for its errors, which are no JSON.
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

// refuse says why a request is not for us, or "".
func (a *Admin) refuse(req *http.Request) string {
	if origin := req.Header.Get("Origin"); origin != "" {
		return "no requests from web pages: it has an Origin, " + origin
	}
	if host := req.Host; !a.knows(host) {
		return fmt.Sprintf("the host %q is neither an address nor localhost, nor one that was allowed", host)
	}
	return ""
}

// knows tells whether a request for the host is let in.
func (a *Admin) knows(host string) bool {
	bracketed := strings.HasPrefix(host, "[")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if address, err := netip.ParseAddr(host); err == nil {
		return !bracketed || address.Is6()
	}
	return !bracketed && slices.ContainsFunc(append([]string{"localhost"}, a.Hosts...), func(name string) bool {
		return strings.EqualFold(strings.TrimSuffix(host, "."), strings.TrimSuffix(name, "."))
	})
}

func answer(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// errBody marks an error in what was sent.
type errBody struct{ error }

func (e errBody) Unwrap() error { return e.error }

// tooLarge marks a body that exceeds maxBody.
type tooLarge struct{ error }

func statusOf(err error) int {
	var spec *SpecError
	var body errBody
	var network *net.OpError
	switch {
	case errors.As(err, new(tooLarge)):
		return http.StatusRequestEntityTooLarge
	case errors.As(err, &spec), errors.As(err, &body):
		return http.StatusBadRequest
	case errors.Is(err, ErrNoProxy):
		return http.StatusNotFound
	case errors.Is(err, ErrNameTaken), errors.As(err, &network): // the address is not to be had
		return http.StatusConflict
	case errors.Is(err, ErrClosed):
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
		return errBody{errors.New("the body: something follows the object")}
	}
	if err := checkKeys(text, required); err != nil {
		return errBody{fmt.Errorf("the body: %w", err)}
	}
	return nil
}

// checkKeys refuses what Decode lets pass: null for an object or a value, a key with
// capitals, and one that is there twice. What Decode took has no object in it.
func checkKeys(text []byte, required []string) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if begin, _ := decoder.Token(); begin != json.Delim('{') {
		return errors.New("want an object")
	}
	seen := make(map[string]bool)
	for decoder.More() {
		token, _ := decoder.Token()
		value, _ := decoder.Token()
		key, _ := token.(string)
		switch {
		case strings.Trim(key, "abcdefghijklmnopqrstuvwxyz") != "":
			return fmt.Errorf("unknown field %q", key)
		case seen[key]:
			return fmt.Errorf("%s: a second time", key)
		case value == nil:
			return fmt.Errorf("%s: null is no value", key)
		}
		seen[key] = true
	}
	for _, key := range required {
		if !seen[key] {
			return fmt.Errorf("no %s in it", key)
		}
	}
	return nil
}

func listProxies(s *Set, _ *http.Request) (int, any, error) {
	return http.StatusOK, proxyList{s.Proxies()}, nil
}

func addProxy(s *Set, req *http.Request) (int, any, error) {
	var spec Spec
	if err := read(req, &spec); err != nil {
		return 0, nil, err
	}
	status, err := s.Add(req.Context(), spec)
	return http.StatusCreated, status, err
}

func getProxy(s *Set, req *http.Request) (int, any, error) {
	status, err := s.Proxy(req.PathValue("name"))
	return http.StatusOK, status, err
}

func changeProxy(s *Set, req *http.Request) (int, any, error) {
	var change Change
	if err := read(req, &change); err != nil {
		return 0, nil, err
	}
	status, err := s.Change(req.Context(), req.PathValue("name"), change)
	return http.StatusOK, status, err
}

func removeProxy(s *Set, req *http.Request) (int, any, error) {
	return http.StatusNoContent, nil, s.Remove(req.PathValue("name"))
}

func setFault(s *Set, req *http.Request) (int, any, error) {
	var body faultBody
	if err := read(req, &body, "fault"); err != nil {
		return 0, nil, err
	}
	return changeFault(s, req, body.Fault)
}

func clearFault(s *Set, req *http.Request) (int, any, error) { return changeFault(s, req, "") }

func changeFault(s *Set, req *http.Request, text string) (int, any, error) {
	on := Direction(req.PathValue("on"))
	if _, err := on.parse(text); err != nil {
		return 0, nil, &SpecError{string(on), err}
	}
	status, err := s.Change(req.Context(), req.PathValue("name"), on.change(text))
	return http.StatusOK, status, err
}

// change is the Change of a direction's fault.
func (d Direction) change(text string) (c Change) {
	switch d {
	case Requests:
		c.Requests = &text
	case Replies:
		c.Replies = &text
	case Connect:
		c.Connect = &text
	}
	return c
}

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/bothends/bothends/internal/adminhttp"
	"github.com/bothends/bothends/proxy"
)

// A Client changes the proxies of another process, through its [Handler].
type Client struct {
	URL  string       // of the Handler: http://127.0.0.1:8474
	HTTP *http.Client // if nil, http.DefaultClient is used
}

// maxAnswer is the largest answer that a Client reads, in octets: a list of tens of
// thousands of proxies.
const maxAnswer = 16 << 20

// An Error is the answer of a Handler to a request that has failed.
type Error struct {
	Status  int // HTTP status
	Message string
}

func (e *Error) Error() string { return e.Message }

// Proxies returns all proxies, sorted by name.
func (c *Client) Proxies(ctx context.Context) ([]proxy.Status, error) {
	var list proxyList
	err := c.do(ctx, "GET", nil, &list)
	return list.Proxies, err
}

// Proxy returns the proxy of that name.
func (c *Client) Proxy(ctx context.Context, name string) (status proxy.Status, err error) {
	err = c.do(ctx, "GET", nil, &status, name)
	return status, err
}

// Add starts a proxy; the Status has its address.
func (c *Client) Add(ctx context.Context, spec proxy.Spec) (status proxy.Status, err error) {
	err = c.do(ctx, "POST", spec, &status)
	return status, err
}

// Change changes a proxy.
func (c *Client) Change(ctx context.Context, name string, change proxy.Change) (status proxy.Status, err error) {
	err = c.do(ctx, "PATCH", change, &status, name)
	return status, err
}

// Remove stops a proxy and closes its connections with RST.
func (c *Client) Remove(ctx context.Context, name string) error {
	return c.do(ctx, "DELETE", nil, nil, name)
}

// SetFault gives a direction a fault, in the language of fault.Parse, for the connections
// that are open and for new ones: see [proxy.Proxy.SetFault]. Use Change with NewOnly to
// leave the open ones as they are.
func (c *Client) SetFault(ctx context.Context, name string, on proxy.Direction, fault string) (status proxy.Status, err error) {
	err = c.do(ctx, "PUT", faultBody{Fault: fault}, &status, name, "faults", string(on))
	return status, err
}

// ClearFault takes a direction's fault away.
func (c *Client) ClearFault(ctx context.Context, name string, on proxy.Direction) (status proxy.Status, err error) {
	err = c.do(ctx, "DELETE", nil, &status, name, "faults", string(on))
	return status, err
}

// DropConns closes the open connections of a proxy with RST.
func (c *Client) DropConns(ctx context.Context, name string) (status proxy.Status, err error) {
	err = c.do(ctx, "DELETE", nil, &status, name, "connections")
	return status, err
}

// Enable lets a proxy listen again after Disable, at the same address.
func (c *Client) Enable(ctx context.Context, name string) (proxy.Status, error) {
	enabled := true
	return c.Change(ctx, name, proxy.Change{Enabled: &enabled})
}

// Disable stops listening and closes the open connections of a proxy with RST.
func (c *Client) Disable(ctx context.Context, name string) (proxy.Status, error) {
	var enabled bool
	return c.Change(ctx, name, proxy.Change{Enabled: &enabled})
}

// do makes a request for a path under /v1/proxies.
func (c *Client) do(ctx context.Context, method string, send, receive any, path ...string) error {
	address := strings.TrimSuffix(c.URL, "/") + "/v1/proxies"
	for _, part := range path {
		address += "/" + url.PathEscape(part)
	}
	var body bytes.Buffer
	if send != nil {
		if err := json.NewEncoder(&body).Encode(send); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, address, &body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	return readAnswer(resp, receive)
}

func readAnswer(resp *http.Response, into any) error {
	if resp.StatusCode >= 300 {
		var failed adminhttp.Error
		if json.NewDecoder(resp.Body).Decode(&failed) != nil || failed.Error == "" {
			failed.Error = "HTTP status " + resp.Status
		}
		return &Error{resp.StatusCode, failed.Error}
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); errors.As(err, new(*http.MaxBytesError)) {
		return fmt.Errorf("the answer is larger than %d octets (16 MiB)", maxAnswer)
	} else if err != nil {
		return fmt.Errorf("the answer: %w", err)
	}
	return nil
}

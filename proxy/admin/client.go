package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// A Client drives the proxies of another process, through its [Admin].
type Client struct {
	URL  string       // where Admin listens: http://127.0.0.1:8474
	HTTP *http.Client // nil uses http.DefaultClient
}

// maxAnswer is the largest answer that a Client reads, in octets: a list of tens of
// thousands of proxies.
const maxAnswer = 16 << 20

// An APIError is an answer of Admin's that is no success.
type APIError struct {
	Status  int // of HTTP
	Message string
}

func (e *APIError) Error() string { return e.Message }

// Proxies are the proxies there are, by name.
func (c *Client) Proxies(ctx context.Context) ([]Status, error) {
	var list proxyList
	err := c.do(ctx, "GET", nil, &list)
	return list.Proxies, err
}

// Proxy is one of them.
func (c *Client) Proxy(ctx context.Context, name string) (status Status, err error) {
	err = c.do(ctx, "GET", nil, &status, name)
	return status, err
}

// Add starts a proxy; the Status has its address.
func (c *Client) Add(ctx context.Context, spec Spec) (status Status, err error) {
	err = c.do(ctx, "POST", spec, &status)
	return status, err
}

// Change changes a proxy for the connections that begin later.
func (c *Client) Change(ctx context.Context, name string, change Change) (status Status, err error) {
	err = c.do(ctx, "PATCH", change, &status, name)
	return status, err
}

// Remove stops a proxy and cuts its connections.
func (c *Client) Remove(ctx context.Context, name string) error {
	return c.do(ctx, "DELETE", nil, nil, name)
}

// SetFault gives a direction a fault, in the language of fault.Parse, for the
// connections that begin later.
func (c *Client) SetFault(ctx context.Context, name string, on Direction, fault string) (status Status, err error) {
	err = c.do(ctx, "PUT", faultBody{fault}, &status, name, "faults", string(on))
	return status, err
}

// ClearFault takes a direction's fault away.
func (c *Client) ClearFault(ctx context.Context, name string, on Direction) (status Status, err error) {
	err = c.do(ctx, "DELETE", nil, &status, name, "faults", string(on))
	return status, err
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
		var failed errorBody
		if json.NewDecoder(resp.Body).Decode(&failed) != nil || failed.Error == "" {
			failed.Error = "the answer is " + resp.Status
		}
		return &APIError{resp.StatusCode, failed.Error}
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

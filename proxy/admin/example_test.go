package admin_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/bothends/bothends/proxy"
	"github.com/bothends/bothends/proxy/admin"
)

// A test suite changes the proxies of another process.
func ExampleClient() {
	var s proxy.Set // bothends proxy --admin has one
	defer s.Close()
	server := httptest.NewServer(&admin.Handler{Set: &s})
	defer server.Close()

	ctx := context.Background()
	c := admin.Client{URL: server.URL}
	if _, err := c.Add(ctx, proxy.Spec{Name: "db", Listen: "127.0.0.1:0", Target: "127.0.0.1:5432"}); err != nil {
		log.Fatal(err)
	}
	db, err := c.SetFault(ctx, "db", proxy.Connect, "first:2(refuse)")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(db.Name, db.Target, db.Connect)
	// Output: db 127.0.0.1:5432 first:2(refuse)
}

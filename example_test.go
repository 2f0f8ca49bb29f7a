package bothends_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/bothends/bothends"
)

func Example() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	var s bothends.Server
	go s.Serve(ln)
	defer s.Shutdown(context.Background())

	var c bothends.Client
	reply, err := c.Exchange(context.Background(), ln.Addr().String(), []byte("Hi there, server"))
	fmt.Printf("%s, %v\n", reply, err)
	// Output: Farewell, client, <nil>
}

func ExampleServer() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	s := &bothends.Server{
		MessageSize: 4,
		Timeout:     time.Second,
		Reply: func(_ context.Context, r *bothends.Request) ([]byte, error) {
			return []byte(strings.ToUpper(string(r.Message))), nil
		},
	}
	go s.Serve(ln)
	defer s.Shutdown(context.Background())

	c := &bothends.Client{ReplySize: 4}
	reply, _ := c.Exchange(context.Background(), ln.Addr().String(), []byte("ping"))
	fmt.Printf("%s\n", reply)
	// Output: PING
}

// A client can tell in which way there was no reply.
func ExampleClassify() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ln.Close() // nobody listens there now

	_, err = new(bothends.Client).Exchange(context.Background(), ln.Addr().String(), []byte("Hi there, server"))
	fmt.Println(bothends.Classify(err))
	// Output: refused
}

func ExampleReadMessage() {
	message := make([]byte, 16)
	err := bothends.ReadMessage(strings.NewReader("Hi there"), message)
	fmt.Println(err)
	fmt.Println(bothends.Classify(err), errors.Is(err, io.ErrUnexpectedEOF))
	// Output:
	// socket closed 8 bytes into a 16-byte message
	// short true
}

func ExampleWriteMessage() {
	if err := bothends.WriteMessage(os.Stdout, []byte("Farewell, client")); err != nil {
		fmt.Println(err)
	}
	// Output: Farewell, client
}

func ExampleTrace() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	s := new(bothends.Server)
	go s.Serve(ln)
	defer s.Shutdown(context.Background())

	ctx := bothends.WithTrace(context.Background(), &bothends.Trace{
		Sent: func(t bothends.Transfer) { fmt.Printf("sent %d of %d octets\n", len(t.Message), t.Want) },
		Done: func(err error) { fmt.Println("done:", bothends.Classify(err)) },
	})
	new(bothends.Client).Exchange(ctx, ln.Addr().String(), []byte("Hi there, server"))
	// Output:
	// sent 16 of 16 octets
	// done: ok
}

func ExampleTiming() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	s := new(bothends.Server)
	go s.Serve(ln)
	defer s.Shutdown(context.Background())

	var timing bothends.Timing
	ctx := bothends.WithTrace(context.Background(), timing.Trace())
	new(bothends.Client).Exchange(ctx, ln.Addr().String(), []byte("Hi there, server"))
	for phase := range timing.Phases() { // the second value is the time spent in it
		fmt.Println(phase)
	}
	// Output:
	// connect
	// send
	// wait
	// receive
	// close
}

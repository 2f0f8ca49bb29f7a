package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/memnet"
)

// A server that breaks off in its first answer, and a client that must notice.
func Example() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ln = fault.Listen(ln, fault.FailFirst(1, fault.Close(10)))
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "Farewell, client")
			conn.Close()
		}
	}()
	for range 2 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			fmt.Println(err)
			return
		}
		got, err := io.ReadAll(conn)
		fmt.Printf("%q, %v\n", got, err)
		conn.Close()
	}
	// Output:
	// "Farewell, ", <nil>
	// "Farewell, client", <nil>
}

func ExampleParse() {
	f, err := fault.Parse("first:2(20%(drip:1/1ms+reset:10))+delay:20ms")
	fmt.Println(f, err)
	_, err = fault.Parse("close:8+reset:ten")
	fmt.Println(err)
	// Output:
	// first:2(20%(drip:1/1ms+reset:10))+delay:20ms <nil>
	// fault "close:8+reset:ten": at "reset:ten": reset needs a number, not "ten"
}

// A flag may name the fault, and a seed that repeats the run.
func ExampleNew() {
	f, err := fault.Parse("20%(close:8)")
	if err != nil {
		fmt.Println(err)
		return
	}
	injector := fault.New(f, 42)
	for n := range 8 {
		near, far := net.Pipe()
		if injector.Conn(near) != near {
			fmt.Println("connection", n, "is to be closed")
		}
		near.Close()
		far.Close()
	}
	// Output:
	// connection 1 is to be closed
	// connection 6 is to be closed
}

// The connections of a pool are open already when the fault is set, and work again when it
// is cleared.
func ExampleSwitch() {
	network := memnet.Listen()
	s := fault.NewSwitch(fault.Fault{}, 0)
	ln := s.Listen(network)
	defer ln.Close()
	client, err := network.Dial(context.Background(), "tcp", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		fmt.Println(err)
		return
	}
	p := make([]byte, 64)

	s.Set(fault.Stall(4)) // of what is sent from now on
	go io.WriteString(server, "Farewell, client")
	n, err := client.Read(p)
	fmt.Printf("%q, %v\n", p[:n], err)

	s.Set(fault.Fault{}) // the Write goes on
	n, err = client.Read(p)
	fmt.Printf("%q, %v\n", p[:n], err)

	s.Set(fault.Reset(0))
	io.WriteString(server, "again")
	_, err = client.Read(p)
	fmt.Println(err)
	// Output:
	// "Fare", <nil>
	// "well, client", <nil>
	// read tcp 127.0.0.1:50000->127.0.0.1:1060: read: connection reset by peer
}

// A client's reply is cut, and its server is not changed.
func ExampleReads() {
	near, server := memnet.Pipe()
	client := fault.Conn(near, fault.Reads(fault.Close(10)))
	defer client.Close()
	io.WriteString(server, "Farewell, client")
	got, err := io.ReadAll(client)
	fmt.Printf("%q, %v\n", got, err)
	// Output:
	// "Farewell, ", <nil>
}

func ExampleFault_All() {
	f, err := fault.Parse("delay:20ms~5ms+first:2(reset:10)")
	if err != nil {
		fmt.Println(err)
		return
	}
	for p := range f.All() {
		switch {
		case p.Kind == fault.KindDelay:
			fmt.Println(p.Time, "and", p.Jitter, "more or less")
		case p.Kind.IsCondition():
			fmt.Println(p.Kind, p.Count)
		default:
			fmt.Println(p.Kind, "after", p.Count)
		}
	}
	// Output:
	// 20ms and 5ms more or less
	// first 2
	// reset after 10
}

// The error is that of the kernel, and names the fault to a test that wants to know.
func ExampleError() {
	near, _ := memnet.Pipe()
	c := fault.Conn(near, fault.Reset(4))
	n, err := c.Write([]byte("Farewell"))
	fmt.Println(n, errors.Is(err, syscall.ECONNRESET))
	var struck *fault.Error
	if errors.As(err, &struck) {
		fmt.Println(struck.Fault)
	}
	// Output:
	// 4 true
	// reset:4
}

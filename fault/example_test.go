package fault_test

import (
	"fmt"
	"io"
	"net"

	"github.com/bothends/bothends/fault"
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

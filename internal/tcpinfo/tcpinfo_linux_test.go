package tcpinfo

import (
	"crypto/tls"
	"io"
	"net"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// What the kernel says of a connection on which a known thing has happened.
func TestRead(t *testing.T) {
	client, server := pair(t)
	client.Write(make([]byte, 16))
	io.ReadFull(server, make([]byte, 7))
	server.Write([]byte("ok"))
	io.ReadFull(client, make([]byte, 2))
	info, err := Read(server)
	if err != nil {
		t.Fatal(err)
	}
	if *info.State != "ESTABLISHED" || *info.Unread != 9 || *info.BytesReceived != 16 || *info.Retransmissions != 0 {
		t.Errorf("server: %s, %d unread, %d received, %d retransmissions", *info.State, *info.Unread, *info.BytesReceived, *info.Retransmissions)
	}
	if *info.MSS < 500 || *info.RTT <= 0 || *info.RTT > 1e9 || *info.CongestionControl == "" {
		t.Errorf("MSS %d, RTT %v, congestion control %q", *info.MSS, *info.RTT, *info.CongestionControl)
	}
	client.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, server)
	if info, err = Read(server); err != nil || *info.State != "CLOSE_WAIT" || *info.Unread != 0 {
		t.Errorf("after the client's FIN: %s, %d unread, %v", *info.State, *info.Unread, err)
	}
	// A peer that does not read leaves octets in the send queue.
	stuck, _ := pair(t)
	stuck.(*net.TCPConn).SetWriteBuffer(1 << 20)
	raw, _ := stuck.(*net.TCPConn).SyscallConn()
	sent := 0
	raw.Write(func(fd uintptr) bool {
		for {
			n, err := unix.Write(int(fd), make([]byte, 64<<10))
			if err != nil {
				return true
			}
			sent += n
		}
	})
	if info, err = Read(stuck); err != nil || *info.Unsent == 0 || *info.Unsent > sent {
		t.Errorf("%d sent to nobody: %d in the queue, %v", sent, *info.Unsent, err)
	}
}

// Each figure is its own field, and no neighbour of it.
func TestDecode(t *testing.T) {
	raw := unix.TCPInfo{State: 8}
	fields := reflect.ValueOf(&raw).Elem()
	for n := range fields.NumField() {
		if f := fields.Field(n); f.CanUint() && f.Type().Size() >= 4 {
			f.SetUint(uint64(1000 + n)) // no two alike
		}
	}
	info := decode(unsafe.Slice((*byte)(unsafe.Pointer(&raw)), unsafe.Sizeof(raw)))
	if *info.State != "CLOSE_WAIT" || *info.MSS != raw.Snd_mss ||
		*info.RTT != time.Duration(raw.Rtt)*time.Microsecond || *info.RTTVar != time.Duration(raw.Rttvar)*time.Microsecond ||
		*info.Retransmissions != raw.Total_retrans || *info.BytesAcked != raw.Bytes_acked ||
		*info.BytesReceived != raw.Bytes_received || *info.DeliveryRate != raw.Delivery_rate {
		t.Errorf("%+v of %+v", info, raw)
	}
}

// What the kernel did not fill in is not read.
func TestLengthThatTheKernelTells(t *testing.T) {
	client, _ := pair(t)
	raw, err := client.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		for size, most := range map[int]int{64: 64, 1 << 16: 1 << 12} {
			if got, err := ask(int(fd), make([]byte, size)); err != nil || len(got) < 64 || len(got) > most {
				t.Errorf("asked for %d octets: %d, %v", size, len(got), err)
			}
		}
	})
}

// A field that the kernel did not return is nil, not zero.
func TestOlderKernels(t *testing.T) {
	full := make([]byte, unsafe.Sizeof(unix.TCPInfo{}))
	full[0] = 1
	for _, c := range []struct {
		length                                     int
		state, rtt, retrans, acked, received, rate bool
	}{
		{0, false, false, false, false, false, false},
		{1, true, false, false, false, false, false},
		{104, true, true, true, false, false, false}, // Linux 2.6: up to tcpi_total_retrans
		{128, true, true, true, true, false, false},
		{136, true, true, true, true, true, false},
		{len(full), true, true, true, true, true, true},
	} {
		info := decode(full[:c.length])
		if (info.State != nil) != c.state || (info.RTT != nil) != c.rtt || (info.Retransmissions != nil) != c.retrans ||
			(info.BytesAcked != nil) != c.acked || (info.BytesReceived != nil) != c.received || (info.DeliveryRate != nil) != c.rate {
			t.Errorf("%d octets: %+v", c.length, info)
		}
	}
}

func TestReadBelowOtherConnections(t *testing.T) {
	client, _ := pair(t)
	if info, err := Read(tls.Client(client, &tls.Config{})); err != nil || *info.State != "ESTABLISHED" {
		t.Errorf("%v", err)
	}
	one, two := net.Pipe()
	defer one.Close()
	defer two.Close()
	if _, err := Read(one); err != ErrNotAvailable {
		t.Errorf("a connection without a kernel: %v", err)
	}
	client.Close()
	if _, err := Read(client); err == nil {
		t.Error("a closed connection has a view")
	}
}

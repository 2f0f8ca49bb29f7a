package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/bothends/bothends/internal/capture"
	"github.com/bothends/bothends/transcript"
)

// A pcap is the file of --pcap, and the capture that is to go there. Nil is none.
type pcap struct {
	*capture.Capture
	file *os.File
}

// newPcap opens a capture, and the file for it; nil, after one line on errs, where
// this process may not capture: all else works without.
func newPcap(name string, options capture.Options, errs io.Writer) (*pcap, error) {
	if name == "" {
		return nil, nil
	}
	c, err := capture.Open(options)
	if errors.Is(err, capture.ErrNotPermitted) || errors.Is(err, capture.ErrNotAvailable) {
		fmt.Fprintf(errs, "bothends: no --pcap: %v\n", err)
		return nil, nil
	}
	if err != nil {
		return nil, &failure{code: exitFailure, err: err}
	}
	file, err := os.Create(name)
	if err != nil {
		c.Finish(context.Background())
		return nil, &failure{code: exitFailure, err: fmt.Errorf("--pcap: %w", err)}
	}
	return &pcap{c, file}, nil
}

// headersAlone is enough of a lesson's packets, which have megabytes of zeros.
var headersAlone = capture.Options{SnapLen: 128}

// nextLesson saves what a lesson has made, and begins the capture of the next one,
// which goes behind it in the same file, as a section of its own.
func (p *pcap) nextLesson(more bool, errs io.Writer) (err error) {
	if err := p.save(errs); err != nil || !more {
		return err
	}
	p.Capture, err = capture.Open(headersAlone)
	return err
}

// lastSegments is how long the end of a connection may take to be captured.
const lastSegments = 500 * time.Millisecond

// finish ends the capture.
func (p *pcap) finish() error {
	ctx, cancel := context.WithTimeout(context.Background(), lastSegments)
	defer cancel()
	return p.Finish(ctx)
}

// save ends the capture and writes it; packets that are missing in it are told.
func (p *pcap) save(errs io.Writer) error {
	if err := p.finish(); err != nil {
		fmt.Fprintf(errs, "bothends: --pcap: %v\n", err)
	}
	if err := p.Save(p.file); err != nil {
		return &failure{code: exitFailure, err: fmt.Errorf("--pcap: %w", err)}
	}
	return nil
}

// ladder draws the segments; nil when there are none.
func (p *pcap) ladder(ascii bool) *transcript.Ladder {
	p.finish() // what goes wrong, save tells
	return segmentLadder(p.Segments(), ascii)
}

// segmentLadder draws the connection that came about, or else the last that was tried.
// Its numbers are counted from each end's first, as Wireshark does.
func segmentLadder(all []capture.Segment, ascii bool) *transcript.Ladder {
	client, server := drawn(all)
	if !client.IsValid() {
		return nil
	}
	l := &transcript.Ladder{ASCII: ascii, Client: net.TCPAddrFromAddrPort(client), Server: net.TCPAddrFromAddrPort(server)}
	first := make(map[netip.AddrPort]uint32)
	for _, s := range all {
		if s.Src != client && s.Dst != client {
			continue
		}
		if _, ok := first[s.Src]; !ok {
			first[s.Src] = s.Seq
		}
		way := transcript.ToServer
		if s.Src != client {
			way = transcript.ToClient
		}
		label := fmt.Sprintf("%v seq %d", s.Flags, s.Seq-first[s.Src])
		if s.Flags&capture.ACK != 0 {
			label += fmt.Sprintf(" ack %d", s.Ack-first[s.Dst])
		}
		if s.Octets > 0 {
			label += fmt.Sprintf(", %d octets", s.Octets)
		}
		l.Add(s.At, way, label)
	}
	return l
}

// drawn is the two ends of the connection to draw.
func drawn(all []capture.Segment) (client, server netip.AddrPort) {
	for _, s := range slices.Backward(all) {
		switch syn, ack := s.Flags&capture.SYN != 0, s.Flags&capture.ACK != 0; {
		case syn && ack:
			return s.Dst, s.Src
		case syn && !client.IsValid():
			client, server = s.Src, s.Dst
		}
	}
	return client, server
}

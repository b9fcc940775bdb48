// The device that the tests send to: @eneris/push-receiver in a process of its own, which prints what
// arrives.
package conformance

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

const patience = 20 * time.Second

type device struct {
	token, fid string
	process    *exec.Cmd
	stdin      io.Closer
	lines      chan line
}

type line struct {
	Token   string `json:"token"`
	Fid     string `json:"fid"`
	Message struct {
		From         string            `json:"from"`
		Data         map[string]string `json:"data"`
		Notification map[string]any    `json:"notification"`
	} `json:"message"`
}

func startDevice(project string) (*device, error) {
	process := exec.Command(os.Getenv("CONFORMANCE_NODE"), "../node/support/receiver.mjs", project)
	process.Stderr = os.Stderr
	stdin, err := process.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, err
	}
	d := &device{process: process, stdin: stdin, lines: make(chan line, 2_000)}
	go d.read(stdout)
	registered := <-d.lines
	d.token, d.fid = registered.Token, registered.Fid
	return d, nil
}

func (d *device) read(stdout io.Reader) {
	defer close(d.lines)
	for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
		var read line
		if json.Unmarshal(scanner.Bytes(), &read) == nil {
			d.lines <- read
		}
	}
}

// next is the data of the oldest message that no test has taken.
func (d *device) next(t *testing.T) line {
	t.Helper()
	select {
	case read, open := <-d.lines:
		if !open {
			t.Fatal("the device has ended")
		}
		return read
	case <-time.After(patience):
		t.Fatalf("nothing arrived within %s", patience)
	}
	return line{}
}

func (d *device) stop() {
	d.stdin.Close()
	d.process.Wait()
}

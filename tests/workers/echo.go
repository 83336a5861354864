// A worker of the frame protocol (docs/wire.md) in Go: it answers each input with itself. The
// requests are answered side by side; "sleep" is answered after its cancel.
//
//	go build -o echo echo.go
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"
	"unicode/utf8"
)

const (
	hello, ready, infer, result, failure, cancel = 1, 2, 3, 4, 5, 6
	ping, logLine, progress, train, drain        = 7, 8, 9, 10, 11
	skip, answer                                 = 2, 4
	headerBytes                                  = 32
	metaMax                                      = 1 << 20
	bodyMax                                      = 1 << 30
	concurrency                                  = 4
)

var sizes = map[string]uint64{"BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1,
	"INT16": 2, "INT32": 4, "INT64": 8, "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8}

type object = map[string]any

type tensor struct {
	Name       string   `json:"name"`
	Datatype   string   `json:"datatype"`
	Shape      []uint64 `json:"shape"`
	Parameters struct {
		Size uint64 `json:"binary_data_size"`
	} `json:"parameters"`
}

// An input; of a frame of another kind nothing is set.
type input struct {
	Versions []int    `json:"versions"`
	MaxBody  *uint64  `json:"max_body"`
	Content  *string  `json:"content"`
	Inputs   []tensor `json:"inputs"`
}

type frame struct {
	kind  byte
	flags uint16
	id    uint64
	meta  []byte
	body  []byte
}

// What breaks the protocol; any other error of the connection is its end.
type violation string

func (v violation) Error() string { return string(v) }

type worker struct {
	in, out *os.File
	writing sync.Mutex
	maxBody uint64 // that MER takes
	mutex   sync.Mutex
	open    map[uint64]chan struct{} // closed by a cancel
	running sync.WaitGroup
	later   chan frame // pings: who reads must not wait for MER to read
}

// connect finds the connection, before anything is printed.
func connect() (*os.File, *os.File, error) {
	if word, there := os.LookupEnv("MER_FRAME_FD"); there {
		os.Unsetenv("MER_FRAME_FD")
		fd, err := strconv.Atoi(word)
		if err != nil {
			return nil, nil, err
		}
		syscall.CloseOnExec(fd)
		file := os.NewFile(uintptr(fd), "frames")
		return file, file, nil
	}
	in, err := syscall.Dup(0)
	if err != nil {
		return nil, nil, err
	}
	out, err := syscall.Dup(1)
	if err != nil {
		return nil, nil, err
	}
	syscall.CloseOnExec(in)
	syscall.CloseOnExec(out)
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, nil, err
	}
	defer null.Close()
	if err := syscall.Dup3(int(null.Fd()), 0, 0); err != nil {
		return nil, nil, err
	}
	if err := syscall.Dup3(2, 1, 0); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(in), "requests"), os.NewFile(uintptr(out), "answers"), nil
}

// read gives the next frame of a kind that is known.
func (w *worker) read() (frame, error) {
	for {
		var head [headerBytes]byte
		if _, err := io.ReadFull(w.in, head[:]); err != nil {
			return frame{}, err
		}
		f := frame{kind: head[5], flags: binary.LittleEndian.Uint16(head[6:]),
			id: binary.LittleEndian.Uint64(head[8:])}
		metaSize := binary.LittleEndian.Uint32(head[16:])
		bodySize := binary.LittleEndian.Uint64(head[24:])
		switch {
		case string(head[:4]) != "MERF":
			return f, violation("wrong magic")
		case head[4] != 1:
			return f, violation("a version that was not agreed on")
		case binary.LittleEndian.Uint32(head[20:]) != 0:
			return f, violation("reserved bytes that are not 0")
		case metaSize > metaMax || bodySize > bodyMax:
			return f, violation("lengths over their limits")
		}
		if f.kind == 0 || f.kind > drain {
			if f.flags&skip == 0 {
				return f, violation("an unknown kind")
			}
			if _, err := io.CopyN(io.Discard, w.in, int64(metaSize)+int64(bodySize)); err != nil {
				return f, err
			}
			continue
		}
		f.meta, f.body = make([]byte, metaSize), make([]byte, bodySize)
		if _, err := io.ReadFull(w.in, f.meta); err != nil {
			return f, err
		}
		if _, err := io.ReadFull(w.in, f.body); err != nil {
			return f, err
		}
		var any object
		if metaSize > 0 && (!utf8.Valid(f.meta) || json.Unmarshal(f.meta, &any) != nil || any == nil) {
			return f, violation("a meta that is no JSON object")
		}
		return f, nil
	}
}

// write sends one frame in one piece.
func (w *worker) write(kind byte, flags uint16, id uint64, meta, body []byte) {
	head := make([]byte, headerBytes, headerBytes+len(meta))
	copy(head, "MERF\x01")
	head[5] = kind
	binary.LittleEndian.PutUint16(head[6:], flags)
	binary.LittleEndian.PutUint64(head[8:], id)
	binary.LittleEndian.PutUint32(head[16:], uint32(len(meta)))
	binary.LittleEndian.PutUint64(head[24:], uint64(len(body)))
	w.writing.Lock()
	defer w.writing.Unlock()
	if _, err := w.out.Write(append(head, meta...)); err == nil && len(body) > 0 {
		w.out.Write(body)
	}
}

func (w *worker) say(kind byte, id uint64, meta object) {
	text, err := json.Marshal(meta)
	if err != nil {
		panic(err)
	}
	w.write(kind, 0, id, text, nil)
}

func (w *worker) fail(id uint64, code, message string) {
	w.say(failure, id, object{"code": code, "message": message})
}

// fits tells whether the lengths of the tensors do.
func fits(tensors []tensor, body []byte) bool {
	for _, t := range tensors {
		if t.Parameters.Size > uint64(len(body)) {
			return false
		}
		data := body[:t.Parameters.Size]
		body = body[t.Parameters.Size:]
		count := uint64(1)
		for _, length := range t.Shape {
			count *= length
		}
		if size, known := sizes[t.Datatype]; known && count*size != uint64(len(data)) {
			return false
		}
		if t.Datatype != "BYTES" {
			continue
		}
		for ; count > 0 && len(data) >= 4; count-- {
			length := uint64(binary.LittleEndian.Uint32(data))
			if length > uint64(len(data)-4) {
				return false
			}
			data = data[4+length:]
		}
		if count > 0 || len(data) > 0 {
			return false
		}
	}
	return len(body) == 0
}

// infer answers one request; a violation ends the connection.
func (w *worker) infer(f frame) error {
	var in input
	if err := json.Unmarshal(f.meta, &in); err != nil {
		w.fail(f.id, "input", "the input's description is wrong")
		return nil
	}
	if in.Content == nil && !fits(in.Inputs, f.body) {
		return violation("lengths that do not fit the tensors")
	}
	gone := make(chan struct{})
	w.mutex.Lock()
	_, twice := w.open[f.id]
	w.open[f.id] = gone
	w.mutex.Unlock()
	if twice || f.id == 0 {
		return violation("an id that is 0 or open")
	}
	w.running.Add(1)
	go func() {
		defer w.running.Done()
		if in.Content != nil && string(f.body) == "sleep" {
			<-gone
		}
		w.mutex.Lock()
		delete(w.open, f.id)
		w.mutex.Unlock()
		select {
		case <-gone:
			w.fail(f.id, "cancelled", "as asked")
			return
		default:
		}
		meta := object{"outputs": in.Inputs}
		if in.Content != nil {
			meta = object{"content": *in.Content}
		} else if in.Inputs == nil {
			meta = object{"outputs": []tensor{}}
		}
		if uint64(len(f.body)) > w.maxBody {
			w.fail(f.id, "limit", "the answer is larger than MER takes")
			return
		}
		text, _ := json.Marshal(meta)
		w.write(result, 0, f.id, text, f.body)
	}()
	return nil
}

func (w *worker) cancel(id uint64) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if gone, there := w.open[id]; there {
		delete(w.open, id)
		close(gone)
	}
}

// serve returns nil at drain, once all is answered.
func (w *worker) serve() error {
	f, err := w.read()
	if err != nil {
		return err
	}
	var greeting input
	if f.kind != hello || json.Unmarshal(f.meta, &greeting) != nil {
		return violation("the first frame is no hello")
	}
	speaks := false
	for _, version := range greeting.Versions {
		speaks = speaks || version == 1
	}
	if !speaks {
		w.fail(0, "version", "this worker speaks version 1")
		os.Exit(1)
	}
	if greeting.MaxBody != nil {
		w.maxBody = *greeting.MaxBody
	}
	w.say(ready, 0, object{"version": 1, "sdk": "echo.go 1.0", "name": "echo",
		"concurrency": concurrency, "max_body": bodyMax, "runtime": "Go"})
	go func() {
		for f := range w.later {
			w.write(ping, answer, 0, f.meta, f.body)
		}
	}()
	for {
		if f, err = w.read(); err != nil {
			return err
		}
		switch f.kind {
		case infer:
			if err := w.infer(f); err != nil {
				return err
			}
		case train:
			w.fail(f.id, "unsupported", "an echo learns nothing")
		case cancel:
			w.cancel(f.id)
		case ping:
			if f.flags&answer == 0 {
				w.later <- f
			}
		case drain:
			w.running.Wait()
			return nil
		case failure:
			return fmt.Errorf("MER says: %s", f.meta)
		default:
			return violation("a kind that MER does not send")
		}
	}
}

func main() {
	in, out, err := connect()
	if err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(2)
	}
	w := &worker{in: in, out: out, maxBody: bodyMax, open: map[uint64]chan struct{}{},
		later: make(chan frame, 64)}
	err = w.serve()
	if v, broken := err.(violation); broken {
		w.fail(0, "protocol", v.Error())
	}
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

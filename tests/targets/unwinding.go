// A Go program whose goroutines each keep a thread for themselves and wait there: in a system call below recursion, inlined
// calls, callbacks, methods of interfaces and deferred functions, for a channel, and for a mutex. With the word "busy" one
// more computes. What has no thread of its own, as most goroutines, has no stack that a debugger of threads could show.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

var never [2]int
var mutex sync.Mutex
var sum uint64

// Keeps the thread for this goroutine, and gives it a name of at most 15 bytes.
func name(text string) {
	runtime.LockOSThread()
	bytes := append([]byte(text), 0)
	const setName = 15 // PR_SET_NAME
	syscall.RawSyscall(syscall.SYS_PRCTL, setName, uintptr(unsafe.Pointer(&bytes[0])), 0)
}

//go:noinline
func waitHere() {
	var byte [1]byte
	for {
		// Nothing is ever written there. What package os reads from would be polled, and take no thread.
		syscall.Read(never[0], byte[:])
	}
}

//go:noinline
func recurse(depth int) int {
	if depth == 0 {
		waitHere()
	}
	return recurse(depth-1) + depth
}

func innerInline() { waitHere() }
func outerInline() { innerInline() }

//go:noinline
func inlines() {
	outerInline()
}

type shape interface{ area(depth int) float64 }
type square struct{ side float64 }

//go:noinline
func (s *square) area(depth int) float64 {
	if depth == 0 {
		waitHere()
	}
	var deeper shape = s
	return deeper.area(depth-1) * s.side
}

//go:noinline
func explode() {
	defer func() {
		waitHere()
	}()
	var nothing *square
	nothing.side = 1
}

//go:noinline
func byCallback() {
	words := []string{"b", "a", "c"}
	sort.Slice(words, func(i, j int) bool {
		waitHere()
		return words[i] < words[j]
	})
}

//go:noinline
func generic[T any](value T, next func(T)) { next(value) }

//go:noinline
func compute() {
	for {
		sum++
	}
}

// How many threads are in a read(2) of the pipe.
func waiting() int {
	tasks, _ := os.ReadDir("/proc/self/task")
	count := 0
	for _, task := range tasks {
		line, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/syscall")
		if strings.HasPrefix(string(line), fmt.Sprintf("%d %#x ", syscall.SYS_READ, never[0])) {
			count++
		}
	}
	return count
}

func main() {
	name("main")
	debug.SetGCPercent(-1)
	if syscall.Pipe(never[:]) != nil {
		fmt.Println("failed pipe")
	}
	inCalls := map[string]func(){
		"recursion": func() { recurse(60) },
		"inlined":   inlines,
		"interface": func() { (&square{2}).area(20) },
		"panics":    explode,
		"callback":  byCallback,
		"generic":   func() { generic(7, func(int) { waitHere() }) },
	}
	for thread, work := range inCalls {
		thread, work := thread, work
		go func() {
			name(thread)
			work()
		}()
	}
	mutex.Lock()
	// Two channels: of one, the first goroutine could take what the second has for main.
	started, channel := make(chan int), make(chan int)
	go func() {
		name("channel")
		started <- 1
		<-channel
	}()
	go func() {
		name("mutex")
		started <- 1
		mutex.Lock()
	}()
	<-started
	<-started
	for i := 0; i < 50; i++ {
		go func() { select {} }()
	}
	for waiting() < len(inCalls) {
		time.Sleep(time.Millisecond)
	}
	if len(os.Args) > 1 && os.Args[1] == "busy" {
		go func() {
			name("busy")
			compute()
		}()
	}
	fmt.Println("ready")
	var byte [1]byte
	syscall.Read(0, byte[:])
}

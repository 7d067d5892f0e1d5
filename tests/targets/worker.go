// A Go program: goroutines that compute (and are preempted by SIGURG), others that wait, a collector at work.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"
)

var marks = make([]byte, 4096)
var sums [2]uint64
var garbage atomic.Pointer[[]byte]

func compute(sum *uint64) {
	for {
		atomic.AddUint64(sum, 1)
	}
}

func litter() {
	for {
		bytes := make([]byte, 64*1024)
		garbage.Store(&bytes)
		time.Sleep(time.Millisecond)
	}
}

func main() {
	runtime.GOMAXPROCS(4)
	seed := uint64(time.Now().UnixNano()) | 1
	state := seed
	for at := 0; at < len(marks); at += 8 {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		binary.LittleEndian.PutUint64(marks[at:], state)
	}
	go compute(&sums[0])
	go compute(&sums[1])
	go litter()
	for i := 0; i < 100; i++ {
		go func() { select {} }()
	}
	time.Sleep(200 * time.Millisecond)
	fmt.Println("fact mark_seed", seed)
	fmt.Println("ready go=1")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Printf("report sum=%d goroutines=%d\n", atomic.LoadUint64(&sums[0])+atomic.LoadUint64(&sums[1]), runtime.NumGoroutine())
	}
	select {}
}

import java.net.InetAddress;
import java.net.ServerSocket;
import java.util.concurrent.locks.LockSupport;

/**
 * A Java program whose threads wait, each in another way; with the word "busy" one more computes, in code that the
 * compiler makes.
 */
public class Waiting {
    static final Object held = new Object();
    static final Object notified = new Object();
    static volatile long sum;

    interface Work {
        void run() throws Exception;
    }

    static void start(String name, Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (Exception ended) {
                throw new IllegalStateException(ended);
            }
        }, name);
        thread.setDaemon(true);
        thread.start();
    }

    static void sleep() throws InterruptedException {
        Thread.sleep(Long.MAX_VALUE);
    }

    static void park() {
        for (;;) {
            LockSupport.park();
        }
    }

    static void waitFor() throws InterruptedException {
        synchronized (notified) {
            for (;;) {
                notified.wait();
            }
        }
    }

    static void enter() {
        synchronized (held) {
            sum++;
        }
    }

    static void accept() throws Exception {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            socket.accept();
        }
    }

    static int recurse(int depth) throws InterruptedException {
        if (depth == 0) {
            sleep();
        }
        return recurse(depth - 1) + depth;
    }

    static long mix(long state) {
        for (int i = 0; i < 1000; i++) {
            state ^= state << 13;
            state ^= state >>> 7;
            state ^= state << 17;
        }
        return state;
    }

    static void compute() {
        for (long state = 1;;) {
            state = mix(state);
            sum = state;
        }
    }

    public static void main(String[] words) throws Exception {
        synchronized (held) {
            start("sleeps", Waiting::sleep);
            start("parks", Waiting::park);
            start("waits", Waiting::waitFor);
            start("enters", Waiting::enter);
            start("accepts", Waiting::accept);
            start("recurses", () -> recurse(50));
            if (words.length > 0) {
                start("computes", Waiting::compute);
            }
            System.out.println("ready java=1");
            while (System.in.read() >= 0) {}
        }
    }
}

import java.util.HashMap;
import java.util.Map;

/**
 * A Java program that works: two threads fill and empty maps, so that the collector works too, dereference null now and
 * then, which the JVM handles as a fault, and a third starts threads that end at once. Each line on standard input is
 * answered with the number of operations so far.
 */
public class Busy {
    static final class Worker extends Thread {
        volatile long operations;
        long[] nothing;

        @Override
        public void run() {
            Map<String, Long> map = new HashMap<>();
            long state = getId() | 1;
            long done = 0;
            for (;;) {
                state ^= state << 13;
                state ^= state >>> 7;
                state ^= state << 17;
                map.merge("key" + (state & 0xffff), state, Long::sum);
                if (map.size() > 20000) {
                    map = new HashMap<>();
                }
                if (++done % 100000 == 0) {
                    try {
                        state += nothing[0];
                    } catch (NullPointerException expected) {
                        state |= 1;
                    }
                }
                operations = done;
            }
        }
    }

    static void startThreads() {
        try {
            for (;;) {
                Thread thread = new Thread(() -> {}, "brief");
                thread.start();
                thread.join();
                Thread.sleep(20);
            }
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }

    public static void main(String[] words) throws Exception {
        Worker[] workers = {new Worker(), new Worker()};
        for (Worker worker : workers) {
            worker.setDaemon(true);
            worker.start();
        }
        Thread threads = new Thread(Busy::startThreads, "starter");
        threads.setDaemon(true);
        threads.start();
        System.out.println("ready java=1");
        byte[] line = new byte[64];
        while (System.in.read(line) > 0) {
            System.out.println("report operations=" + (workers[0].operations + workers[1].operations));
        }
    }
}
